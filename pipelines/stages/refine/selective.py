"""`--refine feature-where-poor`: more steps of `feature`, for those faces alone whose inversion is still poor.

This is what `--quality best` adds to `balanced`. Most faces need no more steps; a hand before a mouth, glasses or a hat may.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.entry import LIKENESS, Parts, refiners
from pipelines.stages.fitting import TIME
from pipelines.stages.microbatch import in_microbatches
from pipelines.stages.refine.feature import VERSION as FEATURE
from pipelines.stages.refine.feature import FeatureRefiner, FeatureSettings
from pipelines.stages.render import render
from pipelines.types import FaceBatch, Generator, Inversion, Refiner

VERSION = "1"
POOR = 0.012  # ST-LPIPS at 256 px above which a face is refined; docs/refinement.md
_LOOK = Weights(perceptual=1.0, pixel=0.0)
FURTHER = FeatureSettings(steps=60, finish=60, lr=0.03, rows_lr=0.015)


class SelectiveRefiner:
    """Asks another refiner for the faces that need it; see `pipelines.types.Refiner`.

    The host learns once a batch which they are. Scores: ``distance`` before, and ``refined``, 1 where a face was.

    Args:
        refiner: must leave an inversion's fields as they are.
        poor: distance above which a face is refined.
    """

    version = VERSION

    def __init__(self, generator: Generator, likeness: Likeness, refiner: Refiner, poor: float = POOR) -> None:
        self.generator, self.likeness = generator, likeness
        self.refiner, self.poor = refiner, poor

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """The better of both inversions of every poor face, and the others' as they are."""
        distance = self._distance(faces, start)
        poor = (distance > self.poor).nonzero().flatten()
        refined = torch.zeros_like(distance)
        found = start
        if len(poor):
            tried = self.refiner.refine(faces[poor], start[poor])
            better = self._distance(faces[poor], tried) < distance[poor]
            refined[poor] = better.to(refined)
            found = _replaced(start, poor[better], tried[better])
        return replace(found, scores={**found.scores, "distance": distance, "refined": refined})

    @torch.no_grad()
    def _distance(self, faces: FaceBatch, inversion: Inversion) -> Tensor:
        def one(index: Tensor) -> Inversion:
            made = resize_area(render(self.generator, inversion[index]).image.clamp(-1, 1), 256)
            target = self.likeness.target(faces.images[index], None, _LOOK)
            return Inversion(made[:, :0, 0], scores={"distance": self.likeness(made, target, _LOOK)["perceptual"]})

        return in_microbatches(one, len(faces), faces.images.device).scores["distance"]


def _replaced(start: Inversion, index: Tensor, other: Inversion) -> Inversion:
    """`start` with the faces at `index` from `other`."""
    pairs = zip(start.tensors(), other.tensors(), strict=True)
    return start.holding(old.index_copy(0, index.to(old.device), new.to(old)) for (_, _, old), (_, _, new) in pairs)


@refiners.register("feature-where-poor", LIKENESS, f"{VERSION} {POOR} {FEATURE} {FURTHER}", options=TIME)
def build_selective(parts: Parts, generator: Generator) -> Refiner:
    """After `feature`."""
    further = FeatureRefiner(generator, parts.likeness(), FURTHER, seconds=parts.fitting.seconds_per_face)
    return SelectiveRefiner(generator, parts.likeness(), further)
