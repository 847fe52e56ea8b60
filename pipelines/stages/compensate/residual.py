"""Edits: move the codes along directions and carry the photo's residuals along.

A residual is what the photo has and the codes lack, at a place in the picture. Where an edit moves that place (lips that
close, a head that turns), adding the old residual draws the old lips again: a ghost. So the residual first follows the
motion of the generator's own feature (`pipelines.stages.compensate.flow`), and is then weakened where the edited feature still
departs from the unedited one (`residual_gate`). At strength 0 nothing moves and the result is the inversion, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compensate.flow import motion, warp
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.types import Generator, Inversion, Point, Synthesis

GATE_WIDTH = 1.0


def residual_gate(base: Tensor, edited: Tensor, width: float = GATE_WIDTH) -> Tensor:
    """How much of a residual survives an edit: n x 1 x H x W in (0, 1], 1 where the feature did not move.

    Args:
        base, edited: n x C x H x W, the feature of the unedited and of the edited code.
        width: departure, as a share of the base feature's own size, at which a residual falls to 1/e.
    """
    departure = (edited - base).square().mean(dim=1, keepdim=True)
    size = base.square().mean(dim=(1, 2, 3), keepdim=True)
    # A contour moves by a pixel or two, its neighbourhood must let go with it.
    departure = F.avg_pool2d(F.pad(departure, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return torch.exp(-departure / (size * width**2))


def carried(residual: Tensor, base: Tensor, edited: Tensor, width: float = GATE_WIDTH) -> Tensor:
    """The part of a residual n x C x H x W that an edit keeps, moved to where it now belongs; `width` of its gate."""
    flow = motion(base, edited)
    return residual_gate(warp(base, flow), edited, width) * warp(residual, flow)


class Editor:
    """Renders an inversion, edited or not."""

    version = "2"  # 2: motion found by matrix products, 0.001 feature pixels from before

    def __init__(self, generator: Generator, directions: DirectionSet) -> None:
        self.generator = generator
        self.directions = directions

    def base(self, inversion: Inversion) -> Synthesis:
        """The inversion itself; collects the unedited features wherever a residual sits."""
        points = tuple(inversion.residuals)
        features = self.features(inversion.latents, points)
        inject = {point: features[point] + residual for point, residual in inversion.residuals.items()}
        return Synthesis(self.generator.synthesize(inversion.latents, inject=inject).image, features)

    def edit(self, inversion: Inversion, base: Synthesis, terms: Sequence[tuple[str, float]]) -> Tensor:
        """n x 3 x R x R: the inversion moved along `terms` (direction name, strength)."""
        if all(strength == 0 for _, strength in terms):
            return base.image
        latents = self.directions.apply(inversion.latents, terms)
        features = self.features(latents, tuple(inversion.residuals))
        inject = {}
        for point, residual in inversion.residuals.items():
            inject[point] = features[point] + carried(residual, base.features[point], features[point])
        return self.generator.synthesize(latents, inject=inject).image

    def features(self, latents: Tensor, points: tuple[Point, ...]) -> dict[Point, Tensor]:
        """Plain features of codes at `points`; cheap, because nothing above the highest point is computed."""
        return self.generator.features(latents, points) if points else {}
