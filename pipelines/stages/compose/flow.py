"""Dense correspondence between the edited and the unedited render: where each place of the edited one was before.

Both pictures come from one generator and differ by one edit: the same person, light and texture apart from what moved. So
iterated least squares on locally normalised brightness (Lucas and Kanade 1981; coarse to fine as Bouguet 2001), with the
field smoothed between the steps, finds it on any device, and the same for every batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compose.filters import blur, enlarge, luma, warp

STEPS = ((32, 3), (64, 4), (128, 4), (256, 2))  # (side, iterations)
WINDOW = 2.0  # px, of the least squares' window at each level
STIFFNESS = 0.01  # added to the structure tensor, whose unit is a locally normalised picture's
SMOOTH = 1.0  # px, of the field after each step
FURTHEST = 2.0  # px a step at each level


def edit_flow(base: Tensor, edited: Tensor) -> Tensor:
    """Flow from edited to base: n x 2 x H x W, (dx, dy) in pixels; base at p + flow(p) is edited at p.

    Args:
        base, edited: n x 3 x H x H in [-1, 1], H = 256 (any power of two from 32 up works).
    """
    side = base.shape[-1]
    flow = base.new_zeros(base.shape[0], 2, min(32, side), min(32, side))
    for size, count in STEPS:
        if size > side:
            break
        if size > flow.shape[-1]:
            flow = enlarge(flow, 2) * 2
        b, e = (_normalised(F.avg_pool2d(x, side // size)) for x in (base, edited))
        for _ in range(count):
            flow = _step(b, e, flow)
    return flow


def _normalised(x: Tensor) -> Tensor:
    """Brightness without its local mean, in units of its local deviation: an edit's change of light is no motion."""
    grey = luma(x)
    centred = grey - blur(grey, 6.0)
    size = blur(centred.square(), 6.0).sqrt()
    return centred / (size + 0.04)


def _step(base: Tensor, edited: Tensor, flow: Tensor) -> Tensor:
    """One weighted least-squares step and a smoothing of the field."""
    moved = warp(base, flow)
    mean = (moved + edited) / 2
    gx, gy = _gradient(mean)
    gap = edited - moved
    # A robust weight: what the edit made anew must not drag its surroundings.
    weight = 1 / (1 + gap.square())
    sums = blur(torch.cat((gx * gx, gx * gy, gy * gy, gx * gap, gy * gap), dim=1) * weight, WINDOW)
    a, b, c, u, v = sums.split(1, dim=1)
    a, c = a + STIFFNESS, c + STIFFNESS
    inverse = 1 / (a * c - b * b)
    step = torch.cat(((c * u - b * v) * inverse, (a * v - b * u) * inverse), dim=1)
    return blur(flow + step.clamp(-FURTHEST, FURTHEST), SMOOTH)


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences (d/dx, d/dy)."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
