"""Pixel metrics of picture pairs. Pictures are n x 3 x H x W, RGB, [-1, 1]; every function returns n values.

MSE is taken on [-1, 1] data, as this field prints it (4 times the value on [0, 1]). PSNR uses the matching peak of 2,
so 10 log10(4 / MSE); some published tables used a peak of sqrt(2) and lie 3.01 dB lower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.metrics.faces import Trio
from pipelines.metrics.filters import gaussian
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import Tools

PSNR_CAP = 100.0  # dB; equal pictures would give infinity, which neither a mean nor JSON can hold
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004, section III.C
_C1, _C2 = 0.01**2, 0.03**2  # (K L)^2 with L = 1: pictures are brought to [0, 1]
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
MS_SSIM_MIN = _WINDOW * 2 ** (len(_SCALES) - 1)  # px; the coarsest scale must still hold one window


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error over channels and pixels, on [-1, 1] data; n values in [0, 4]."""
    return (x - y).square().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, peak 2 (the width of [-1, 1]), at most 100; n values."""
    return (10 * torch.log10(4 / mse(x, y).clamp_min(1e-20))).clamp_max(PSNR_CAP)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window 11, sigma 1.5, no padding, mean over RGB channels.

    Sides of at least 11 px. Returns n values in [-1, 1]; 1 means equal.
    """
    luminance, structure = _terms((x + 1) / 2, (y + 1) / 2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003, equation 7): 5 scales, each the 2 x 2 mean of the last.

    Computed per channel, then averaged. A negative contrast-structure mean (anti-correlated pictures) counts as 0,
    because its fractional power is not defined. Raises ValueError below 176 px, where the coarsest scale is smaller
    than the window. Returns n values in [0, 1]; 1 means equal.
    """
    if min(x.shape[-2:]) < MS_SSIM_MIN:
        raise ValueError(f"ms-ssim needs sides of at least {MS_SSIM_MIN} px, got {tuple(x.shape[-2:])}")
    x, y = (x + 1) / 2, (y + 1) / 2
    product = torch.ones_like(x[:, :, 0, 0])
    for level, weight in enumerate(_SCALES):
        luminance, structure = _terms(x, y)
        coarsest = level == len(_SCALES) - 1
        term = (luminance * structure if coarsest else structure).mean(dim=(2, 3))
        product = product * term.clamp_min(0).pow(weight)
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product.mean(1)


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure maps of [0, 1] pictures; both n x 3 x (H - 10) x (W - 10)."""
    moments = gaussian(torch.cat([x, y, x * x, y * y, x * y], dim=1), _SIGMA, _WINDOW)
    mean_x, mean_y, xx, yy, xy = moments.chunk(5, dim=1)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    variances = xx - mean_x.square() + yy - mean_y.square()
    structure = (2 * (xy - mean_x * mean_y) + _C2) / (variances + _C2)
    return luminance, structure


class Pixels:
    """A metric of two pictures' pixels at 256 px; needs no weights."""

    def __init__(self, name: str, function: Callable[[Tensor, Tensor], Tensor], _: Tools | None = None) -> None:
        self.name = name
        self._function = function

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values}, source to result."""
        return {self.name: self._function(trio.source.pixels, trio.result.pixels)}


metrics.register("mse", "on [-1, 1], 256 px", "lower")(partial(Pixels, "mse", mse))
metrics.register("psnr", "dB, 256 px", "higher")(partial(Pixels, "psnr", psnr))
metrics.register("ssim", "256 px, RGB", "higher")(partial(Pixels, "ssim", ssim))
metrics.register("ms-ssim", "256 px, RGB", "higher")(partial(Pixels, "ms-ssim", ms_ssim))
