"""Filters that several metrics use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian(x: Tensor, sigma: float, taps: int) -> Tensor:
    """n x C x H x W blurred by a normalised Gaussian window of `taps` (odd) px, without padding: taps - 1 px are lost.

    Separable, so two passes.
    """
    channels = x.shape[1]
    offsets = torch.arange(taps, device=x.device, dtype=x.dtype) - (taps - 1) / 2
    window = torch.exp(-offsets.square() / (2 * sigma**2))
    window = (window / window.sum()).expand(channels, 1, taps)
    x = F.conv2d(x, window[:, :, :, None], groups=channels)
    return F.conv2d(x, window[:, :, None, :], groups=channels)
