"""What a metric is, and what it is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.metrics.faces import Faces, Trio
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.generators.style_space import StyleCentre
from pipelines.types import Inversion
from pipelines.weights.store import WeightStore

LANDMARKS = "landmarks-68"
T = TypeVar("T")


class Metric(Protocol):
    """A metric, loaded. `score` gives {name: n values}, NaN where a picture cannot be judged, {} where none can."""

    name: str

    def score(self, trio: Trio) -> dict[str, Tensor]: ...


class CodeMetric(Protocol):
    """A metric of kind latent, loaded: n faces' codes and own generator weights, as they are stored -> n values."""

    name: str

    def score(self, faces: Inversion) -> Tensor: ...


@dataclass(frozen=True)
class SetFigure:
    """What a metric of two sets of pictures says.

    Attributes:
        value: None where there are too few pictures to say anything.
        spread: standard deviation over the subsets that `value` is the mean of; None where it is of all at once.
        least: fewest pictures that it can be computed of.
    """

    value: float | None
    spread: float | None
    least: int


class SetMetric(Protocol):
    """A metric of kind set, loaded: it compares all results of an edit with their sources, not picture by picture."""

    name: str

    def features(self, faces: Faces) -> Tensor:
        """n x d, on the device; those of one picture do not depend on the others."""

    def compare(self, sources: Tensor, results: Tensor) -> SetFigure:
        """n x d features each, on the host."""


class CodeTools(Protocol):
    """What made a run's codes, loaded when first asked for."""

    def open(self) -> None:
        """Load the generator and the embedder now; raises WeightsError where their weights cannot be had."""

    def centre(self) -> StyleCentre:
        """Of the run's generator."""

    def direction(self, name: str) -> Tensor:
        """One of our own directions, L x 512."""

    def render(self, faces: Inversion, codes: Tensor) -> Tensor:
        """The run's generator, with the faces' own weights: codes n x L x 512 -> n x 3 x R x R, [-1, 1]."""

    def embed(self, images: Tensor) -> Tensor:
        """The run's embedder: those pictures -> n x L x 512."""


class Tools:
    """What metrics are built from; networks that two of them share are loaded once.

    Args:
        store: where weights come from.
        device: where networks go.
        run_codes: what made the run's codes; needed by metrics of kind latent alone. May be set later.
        scales: attribute -> its standard deviation over the generator's faces (those of our own directions' card).
    """

    def __init__(
        self,
        store: WeightStore,
        device: torch.device,
        run_codes: CodeTools | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self.scales = dict(scales or {})
        self.store = store
        self.device = device
        self.run_codes = run_codes
        self._shared: dict[str, Any] = {}

    @property
    def codes(self) -> CodeTools:
        """What made the run's codes; raises UsageError where there is no run."""
        if self.run_codes is None:
            raise UsageError("metrics of codes need a folder that invert or edit wrote, with its run.json")
        return self.run_codes

    @cached_property
    def finder(self) -> DlibFinder:
        """The 68-point face finder."""
        return DlibFinder(self.store.path(LANDMARKS))

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned the first time a metric asked for `name`."""
        if name not in self._shared:
            self._shared[name] = make()
        value: T = self._shared[name]
        return value
