"""Grain and sharpness: what a render brings gets as much fine detail as the photo around it has."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose.filters import blur, luma

BANDS = (1.0, 2.0, 4.0)  # px at 1024: the borders between the bands, finest first
MOST, LEAST = 1.15, 0.05


def _bands(x: Tensor) -> list[Tensor]:
    """[finest, finer, fine, rest]; their sum is x."""
    levels = [x, *(blur(x, sigma * x.shape[-1] / 1024) for sigma in BANDS)]
    return [a - b for a, b in zip(levels, levels[1:], strict=False)] + [levels[-1]]


def fine_ratio(photo: Tensor, render: Tensor, weight: Tensor) -> Tensor:
    """Deviation of the photo's fine bands over the render's: n x 3, finest first, between .05 and 1.15.

    Args:
        photo, render: n x 3 x H x W. weight: n x 1 x H x W, the skin that both show.
    """
    ratios = []
    for own, made in zip(_bands(luma(photo))[:-1], _bands(luma(render))[:-1], strict=True):
        # The mean of the size, not of the square: a few strong contours must not speak for the skin.
        sizes = [(band.abs() * weight).sum(dim=(1, 2, 3)) for band in (own, made)]
        ratios.append(sizes[0] / sizes[1].clamp_min(1e-6))
    return torch.stack(ratios, dim=1).clamp(LEAST, MOST)


def with_grain(x: Tensor, ratio: Tensor) -> Tensor:
    """x n x 3 x H x W, a cut of a 1024 px render, with its fine bands scaled by `ratio` n x 3."""
    levels = [x, *(blur(x, sigma) for sigma in BANDS)]
    result = levels[-1]
    for index in range(len(BANDS)):
        result = result + (levels[index] - levels[index + 1]) * ratio[:, index].view(-1, 1, 1, 1)
    return result
