"""Skin that a motion stretches keeps its grain: pores and stubble are moved as they are, not drawn into streaks.

A head that turns shows a cheek at twice the width that it has in the photo, or more. What is coarse is stretched; the finest
band of brightness is laid over it in overlapping patches, each moved as a whole, and brought to the size that it has in the
photo: texture synthesis by patches (Efros and Freeman, SIGGRAPH 2001) with soft seams, as grain has no contours that must meet.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pipelines.stages.compose.filters import blur, derivatives, luma, smoothstep, warp
from pipelines.stages.compose.window import Window, window_of

STRETCH = (1.4, 2.0)  # times the photo's: below the first a motion streaks nothing that one sees
EVEN = 3.0  # px of 256: stretch is the skin's, not that of a line where two motions meet
GRAIN = 4.0  # px of 1024: finer is grain
CELL = 16  # px of 256: half a patch
MOST = 4.0  # times the power of a mean of patches: of four that have nothing in common
CONTOUR = (0.06, 0.16)  # [-1, 1] units: middle bands that are of a contour, not of skin


def stretched(flow: Tensor) -> Tensor:
    """n x 1 x H x W in [0, 1]: where reading a photo at `flow`, n x 2 x H x W in its pixels, draws it wide in any direction."""
    along, down = derivatives(flow)
    a, b, c, d = 1 + along[:, :1], down[:, :1], along[:, 1:], 1 + down[:, 1:]
    # The lesser singular value of the map's derivative; 1 over it is the greatest stretch.
    mean, volume = (a.square() + b.square() + c.square() + d.square()) / 2, a * d - b * c
    least = (mean - (mean.square() - volume.square()).clamp_min(0).sqrt()).clamp_min(0).sqrt()
    return smoothstep(1 / blur(least, EVEN).clamp_min(0.1), *STRETCH)


def with_own_grain(moved: Tensor, images: Tensor, flow: Tensor, where: Tensor, window: Window) -> Tensor:
    """`moved`, the window of the moved photo, with the photo's grain as it was where `where` says so.

    Args:
        images: n x 3 x R x R. flow: n x 2 x 256 x 256, in pixels of 256. where: n x 1 x 256 x 256 in [0, 1].
    """
    part = window_of(where, window.factor, margin=8).within(window)
    if part.empty:
        return moved
    result, sigma = moved.clone(), GRAIN * images.shape[-1] / 1024
    target, photo = part.cut(result, window), luma(images)
    grey = luma(target)
    band = blur(grey, sigma)
    middle = blur((band - blur(band, 4 * sigma)).abs(), 2 * sigma)
    share = part.grown(where) * smoothstep(middle, CONTOUR[1], CONTOUR[0])
    target += share * (band + _laid_out(photo - blur(photo, sigma), flow, part) - grey)
    return result


def _laid_out(grain: Tensor, flow: Tensor, window: Window) -> Tensor:
    """The window of `grain`, n x 1 x R x R, in four grids of patches that overlap by halves, each moved as its centre is."""
    side, factor = flow.shape[-1], window.factor
    total, power = torch.zeros_like(window.cut(grain)), torch.zeros_like(window.cut(grain))
    ramp = 1 - (torch.arange(2 * CELL, device=flow.device, dtype=flow.dtype) + 0.5 - CELL).abs() / CELL
    for down, right in itertools.product((0, CELL), repeat=2):
        rows, columns = (ramp.roll(shift).repeat(side // (2 * CELL)) for shift in (down, right))
        weight = window.grown((rows[:, None] * columns)[None, None])
        # Whole pixels: grain that is read between them would be softer.
        steady = (window.spread(_by_patch(flow, down, right)) * factor).round()
        patches = warp(grain, steady, window.corner, mode="nearest")
        total += weight * patches
        power += weight * patches.square()
    # Patches that are moved alike add up, others average out: each place gets the size that they have.
    lost = blur(power, EVEN * factor) / blur(total.square(), EVEN * factor).clamp_min(1e-8)
    return total * lost.clamp(1, MOST).sqrt()


def _by_patch(flow: Tensor, down: int, right: int) -> Tensor:
    """`flow` at the centre of each patch of 2 `CELL` pixels, the grid shifted by (down, right): n x 2 x H x W."""
    rolled = flow.roll((-down, -right), dims=(2, 3))
    centres = rolled[..., CELL :: 2 * CELL, CELL :: 2 * CELL]
    wide = centres.repeat_interleave(2 * CELL, 2).repeat_interleave(2 * CELL, 3)
    return wide.roll((down, right), dims=(2, 3))
