"""What parts are built from, and the registry of each kind.

A part is one module: it defines a class and registers a function that builds it. Of a generator that is `build(parts)`, of
an embedder, refiner, compensator or composer `build(parts, generator)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from pipelines.models.faces.chips import extract_chips
from pipelines.models.faces.dlib_resnet import load_dlib_resnet
from pipelines.models.perceptual.likeness import Likeness
from pipelines.models.perceptual.stlpips import build_stlpips
from pipelines.registry import Entry, PartRegistry
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.fitting import Fitting
from pipelines.types import Compensator, Composer, Embedder, Generator, Refiner
from pipelines.weights.formats.dlib_dat import read_dlib_resnet
from pipelines.weights.store import WeightStore

LIKENESS = ("st-lpips-alex", "id-dlib")  # what `Parts.likeness` needs


class Parts:
    """What builders share on one device: the store, the run's directions, and networks that several parts use, built once.

    Args:
        store: where weights come from.
        device: where parts go.
        directions: what the run's edits may use (None: a run without edits).
        region: where edits may change the photo, as `EditSpec.region`.
        deghost: whether composers that can take ghosts out do so, as `EditSpec.deghost`.
        fitting: what was asked of parts that fit one photo (None: nothing).
    """

    def __init__(
        self,
        store: WeightStore,
        device: torch.device,
        directions: DirectionSet | None = None,
        region: str | None = None,
        deghost: bool = True,
        fitting: Fitting | None = None,
    ) -> None:
        self.region, self.deghost = region, deghost
        self.fitting = fitting or Fitting()
        self.store = store
        self.device = device
        self.directions = directions or DirectionSet(())

    @cache  # noqa: B019 (as long as the parts)
    def likeness(self) -> Likeness:
        """ST-LPIPS (AlexNet) and dlib's identity network, frozen."""
        perceptual = build_stlpips(self.store.tensors("st-lpips-alex"), "alex")
        identity = load_dlib_resnet(read_dlib_resnet(self.store.path("id-dlib")))
        made = Likeness(perceptual, identity, partial(extract_chips, size=150, padding=0.25))
        return made.requires_grad_(False).eval().to(self.device)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a weight entry, on the CPU, as float32."""
        return {key: tensor.float() for key, tensor in self.store.tensors(name).items()}


@dataclass(frozen=True)
class GeneratorEntry(Entry[Generator]):
    """A generator's factory; `num_ws` is known before anything is loaded, so that directions can be checked."""

    num_ws: int = 18


def hashes(names: Iterable[str], store: WeightStore) -> list[str]:
    """``NAME=sha256`` of weights, `requires` included; cheap, loads nothing."""
    return [f"{name}={store.sha256(name)}" for name in store.closure(names)]


def identity(entry: Entry[object], store: WeightStore) -> list[str]:
    """Everything that decides this part's numbers, as strings; cheap, loads nothing."""
    return [entry.version, *hashes(entry.weights, store)]


generators: PartRegistry[Generator] = PartRegistry("generator", "pipelines.stages.published")
embedders: PartRegistry[Embedder] = PartRegistry("embedder", "pipelines.stages.embed")
refiners: PartRegistry[Refiner] = PartRegistry("refiner", "pipelines.stages.refine")
compensators: PartRegistry[Compensator] = PartRegistry("compensator", "pipelines.stages.compensate")
composers: PartRegistry[Composer] = PartRegistry("composer", "pipelines.stages.compose")
