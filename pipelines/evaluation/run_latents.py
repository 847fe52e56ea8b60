"""A run's codes as `evaluate` sees them: what made them, read from its run.json and loaded again when a metric asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.files import parse_json
from pipelines.images.pixels import to_uint8
from pipelines.metrics.faces import Locate
from pipelines.models.generators.style_space import StyleCentre
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import Parts
from pipelines.stages.methods import QUALITIES, chosen_parts
from pipelines.stages.published import embedder_entry, generator_entry
from pipelines.stages.render import render
from pipelines.types import Embedder, FaceBatch, Generator, Inversion
from pipelines.weights.store import WeightStore
from pipelines.weights.style_centres import cached_centre


class RunCodes:
    """The generator and the embedder of a run; see `pipelines.metrics.tools.CodeTools`.

    Args:
        run: a folder that `invert` or `edit` wrote.
        store: where weights come from.
        device: where networks go.
        locate: finds landmarks in a picture, for embedders that look at the face.

    Attributes:
        generator_name, embedder_name: as in the registries of `pipelines.stages.entry`.

    Raises:
        UsageError: the folder has no run.json of an inversion, or its codes are those of other weights.
    """

    def __init__(self, run: Path, store: WeightStore, device: torch.device, locate: Locate) -> None:
        about = read_run(run)
        spec = about["spec"]
        self.generator_name = str(spec["generator"])
        named, encoder = chosen_parts(spec["method"], spec.get("embed")).embed, spec.get("encoder")
        self.embedder_name = str(encoder or named)
        self._generator = generator_entry(self.generator_name, store)
        self._embedder = embedder_entry(named, encoder, store, self._generator.num_ws)
        self._parts = Parts(store, device)
        self._locate = locate
        self._centres = store.config.home / "centres"
        names = (*self._generator.weights, *self._embedder.weights)
        _check_weights(run, about.get("weights", {}), store, names)

    @cached_property
    def generator(self) -> Generator:
        """Loaded once."""
        return self._generator.build(self._parts)

    @cached_property
    def embedder(self) -> Embedder:
        """Loaded once."""
        return self._embedder.build(self._parts, self.generator)

    def open(self) -> None:
        """Load both now, so that missing weights are told before any face is scored."""
        _ = self.embedder

    def centre(self) -> StyleCentre:
        """The generator's style centre: from the weights folder, or computed and kept there."""
        return cached_centre(self.generator, self._centres)

    def direction(self, name: str) -> Tensor:
        """One of our own directions, L x 512, on the device."""
        return DirectionSet(own_directions(self.generator.num_ws)).get(name).vector.to(self._parts.device)

    def render(self, faces: Inversion, codes: Tensor) -> Tensor:
        """Codes n x L x 512 -> n x 3 x R x R in [-1, 1], with the faces' own weights; no residual and no compensation."""
        return render(self.generator, faces, codes, residuals={}).image.clamp(-1, 1)

    def embed(self, images: Tensor) -> Tensor:
        """Pictures n x 3 x R x R -> n x L x 512 by the run's embedder alone, refiners left out."""
        found = np.stack([self._locate(image) for image in to_uint8(images)])
        codes = self.embedder.embed(FaceBatch(images, torch.from_numpy(found).to(images.device))).latents
        return codes.detach()


def read_run(run: Path) -> dict[str, Any]:
    """The object of run.json; of a run in shards, any shard's: their options are the same.

    Raises:
        UsageError: there is none, or it is not that of `invert` or `edit`.
    """
    files = [run / "run.json", *sorted(run.glob("run.*.json"))]
    for path in files:
        if path.is_file():
            try:
                body = parse_json(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"'{path}' cannot be read ({error}); run invert or edit again") from None
            if isinstance(body, dict) and isinstance(body.get("spec"), dict) and body["spec"].get("generator"):
                return body
            break
    raise UsageError(f"'{run}' does not say which generator its codes are for: give a folder that invert or edit wrote")


def says_how(run: Path) -> bool:
    """Whether a folder has the run.json of an inversion."""
    try:
        return bool(read_run(run))
    except UsageError:
        return False


def is_composed(run: Path) -> bool:
    """Whether the run's edits were composed into the photo; False where it does not say so."""
    try:
        spec = read_run(run)["spec"]
        method = QUALITIES.get(spec.get("quality") or "", spec.get("method") or "")
        return chosen_parts(method, compose=spec.get("compose")).compose != "none"
    except UsageError:
        return False


def _check_weights(run: Path, recorded: Mapping[str, str], store: WeightStore, names: tuple[str, ...]) -> None:
    """Raises UsageError where the run used another file under a name that is used again here."""
    for name in store.closure(names):
        if recorded.get(name) and store.sha256(name) and recorded[name] != store.sha256(name):
            raise UsageError(f"the codes in '{run}' were made with another file of '{name}'; invert again")
