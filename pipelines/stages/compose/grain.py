"""Grain and sharpness: what a render brings, and what moves, has as much fine detail as the photo there had."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pipelines.stages.compose.filters import blur, luma

FULLER = 1.3  # times the finest band at most; twice resampled skin needs less
BANDS = (1.0, 2.0, 4.0)  # px at full size: the borders between the bands, finest first
MOST, LEAST = 1.15, 0.05
MIDDLE = (0.42, 0.82, 0.28, 0.72)  # top, bottom, left, right: shares of an aligned crop that are always face


def _bands(x: Tensor) -> list[Tensor]:
    """[finest, finer, fine, rest]; their sum is x."""
    levels = [x, *(blur(x, sigma) for sigma in BANDS)]
    return [a - b for a, b in itertools.pairwise(levels)] + [levels[-1]]


def fine_ratio(photo: Tensor, render: Tensor) -> Tensor:
    """Size of the photo's fine bands over the render's in the middle of the face: n x 3, finest first, from .05 to 1.15.

    Args:
        photo, render: n x 3 x R x R.
    """
    top, bottom, left, right = (round(share * photo.shape[-1]) for share in MIDDLE)
    own, made = (_bands(luma(x[..., top:bottom, left:right])) for x in (photo, render))
    # The mean of the size, not of the square: a few strong contours must not speak for the skin.
    ratios = [
        a.abs().mean(dim=(1, 2, 3)) / b.abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
        for a, b in zip(own, made, strict=True)
    ]
    return torch.stack(ratios[:-1], dim=1).clamp(LEAST, MOST)


def with_grain(x: Tensor, ratio: Tensor) -> Tensor:
    """x n x 3 x H x W, a cut of a full-size render, with its fine bands scaled by `ratio` n x 3."""
    # The weighted sum of the bands, without making them: each blur counts with the step between its two bands' weights.
    weights = [part.view(-1, 1, 1, 1) for part in (*ratio.unbind(dim=1), torch.ones_like(ratio[:, 0]))]
    result = x * weights[0]
    for sigma, (finer, coarser) in zip(BANDS, itertools.pairwise(weights), strict=True):
        result.addcmul_(blur(x, sigma), coarser - finer)
    return result


def kept_crisp(moved: Tensor, photo: Tensor, where: Tensor) -> Tensor:
    """`moved`, the photo read between its pixels, with the finest band that reading has cost; all n x C x H x W.

    One gain a face: the band's size in the photo over that in the moved one, both over `where` n x 1 x H x W in [0, 1], so
    that a soft photo stays soft.
    """
    own, made = (x - blur(x, BANDS[0]) for x in (luma(photo), luma(moved)))
    sizes = [(band.abs() * where).sum(dim=(1, 2, 3), keepdim=True) for band in (own, made)]
    gain = (sizes[0] / sizes[1].clamp_min(1e-6)).clamp(1, FULLER)
    return moved + made * where * (gain - 1)
