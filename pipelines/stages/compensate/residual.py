"""`--compensate residual`: what refiners found is carried along through edits, and nothing is added to it.

A residual is what the photo has and the codes lack, at a place in the picture. Where an edit moves that place (lips that
close, a head that turns), adding the old residual draws the old lips again: a ghost. So the residual first follows the
motion of the generator's own feature (`pipelines.stages.compensate.flow`), and is then weakened where the edited feature still
departs from the unedited one (`confidence`). At strength 0 nothing moves and the result is the inversion, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compensate.flow import feature_flow, warp
from pipelines.stages.entry import Parts, compensators
from pipelines.stages.render import plain_features, render
from pipelines.types import Compensator, FaceBatch, Generator, Inversion, Point, Synthesis

GATE_WIDTH = 1.0
VERSION = "2"  # 2: motion found by matrix products, 0.001 feature pixels from before


def confidence(base: Tensor, edited: Tensor, width: float = GATE_WIDTH) -> Tensor:
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


def transport(residual: Tensor, base: Tensor, edited: Tensor, width: float = GATE_WIDTH) -> Tensor:
    """The part of a residual n x C x H x W that an edit keeps, moved to where it now belongs; `width` of its gate."""
    flow = feature_flow(base, edited)
    return confidence(warp(base, flow), edited, width) * warp(residual, flow)


@dataclass(frozen=True)
class Prepared:
    """An inversion, and the plain features of its codes wherever a residual sits."""

    inversion: Inversion
    features: dict[Point, Tensor]


class ResidualCompensator:
    """See `pipelines.types.Compensator`; also for inversions without residuals, whose codes alone then make the picture."""

    version = VERSION

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion) -> Prepared:
        """The pictures are not looked at: what they have beyond the codes was found before."""
        points = tuple(inversion.residuals)
        return Prepared(inversion, plain_features(self.generator, inversion, inversion.latents, points))

    @torch.no_grad()
    def render(self, prepared: Prepared, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        """Codes n x L x 512 -> n x 3 x R x R, with the plain features at `points`."""
        inversion, before = prepared.inversion, prepared.features
        if latents is inversion.latents:
            return render(self.generator, inversion, features=before, collect=points)
        at = tuple(dict.fromkeys((*before, *points))) if before else ()
        features = plain_features(self.generator, inversion, latents, at)
        residuals = {
            point: transport(residual, before[point], features[point])
            for point, residual in inversion.residuals.items()
        }
        return render(self.generator, inversion, latents, features, residuals, points)


@compensators.register("residual", version=VERSION)
def build_residual(parts: Parts, generator: Generator) -> Compensator:
    """Needs no weights."""
    return ResidualCompensator(generator)
