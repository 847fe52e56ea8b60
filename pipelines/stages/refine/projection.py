"""The arithmetic of projecting a picture into W as StyleGAN2 does it (Karras et al., CVPR 2020, appendix D).

PTI (Roich et al., ACM TOG 2022) finds its pivots so; `far_code` is the place where it then holds the tuned generator to the
original one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

_RAMP_UP, _RAMP_DOWN = 0.05, 0.25  # shares of all steps
_NOISE_SHARE, _NOISE_END = 0.05, 0.75
_SMALLEST = 8  # px; coarser versions of a noise map are not looked at
_MAP = (1, 2, 3)  # what of n maps is one map


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear up over the first twentieth of the steps (from 0), cosine down over the last quarter; step from 0."""
    share = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / _RAMP_DOWN))
    return peak * down * min(1.0, share / _RAMP_UP)


def code_noise(step: int, steps: int, w_std: float = 1.0) -> float:
    """Standard deviation of the noise added to the code: 0.05 w_std at first, falling as a square to 0 at three quarters."""
    share = step / steps
    return _NOISE_SHARE * w_std * max(0.0, 1 - share / _NOISE_END) ** 2


def noise_penalty(maps: Iterable[Tensor]) -> Tensor:
    """How much the noise maps resemble pictures: squared correlations with themselves one pixel on, at every scale.

    Args:
        maps: each n x 1 x s x s; halved by averaging as long as it is larger than 8 px.

    Returns:
        n values, the sum over maps and scales; 0 for white noise. Its weight in StyleGAN2 is 1e5.
    """
    total = torch.zeros(())
    for noise in maps:
        while True:
            across, down = (noise * noise.roll(1, dims=dim) for dim in (3, 2))
            total = total.to(noise) + across.mean(_MAP).square() + down.mean(_MAP).square()
            if noise.shape[2] <= _SMALLEST:
                break
            noise = F.avg_pool2d(noise, 2)
    return total


def normalised_noise(noise: Tensor) -> Tensor:
    """Maps n x 1 x s x s, each brought to zero mean and unit standard deviation (the unbiased one)."""
    return (noise - noise.mean(_MAP, keepdim=True)) / noise.std(_MAP, keepdim=True)


def far_code(pivot: Tensor, sample: Tensor, distance: float = 30.0) -> Tensor:
    """The code at `distance` from the pivot towards a sampled one (Roich et al., section 3.3, equation 5).

    Args:
        pivot: n x L x 512.
        sample: n x 512 or n x L x 512, from the mapping network.
        distance: L2 over all rows and channels together.

    Returns:
        n x L x 512.
    """
    rows = sample if sample.ndim == 3 else sample[:, None].expand_as(pivot)
    away = rows - pivot
    moved: Tensor = pivot + distance * away / away.flatten(1).norm(dim=1)[:, None, None]
    return moved
