"""The numerics of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) without a compiled operator.

Everything keeps channels-last memory, which CPUs and tensor cores prefer. Where no gradient is asked for, steps write
into tensors that the step before has just made: the upper blocks are bound by memory traffic.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
GAIN = math.sqrt(2)  # of the leaky ReLU: keeps the variance
DEMODULATION_EPS = 1e-8
TAPS = (1.0, 3.0, 3.0, 1.0)  # the binomial filter of every up-sampling


@lru_cache(maxsize=64)
def _filter(channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """channels x 1 x 4 x 4: the outer product of `TAPS` with sum 4, which makes up for the zeros that stride 2 leaves."""
    with torch.inference_mode(False):
        taps = torch.tensor(TAPS, device=device, dtype=torch.float32)
        kernel = torch.outer(taps, taps) * (4 / taps.sum() ** 2)
        stacked = kernel.to(dtype).expand(channels, 1, 4, 4)
        return stacked.contiguous(memory_format=torch.channels_last)


def blur(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Binomial 4 x 4 filter, gain 4, one zero on every side: n x C x (2H+1) x (2W+1) -> n x C x 2H x 2W.

    Args:
        bias: C numbers that the same pass adds, or None.
    """
    channels = x.shape[1]
    return F.conv2d(x, _filter(channels, x.device, x.dtype), bias, padding=1, groups=channels)


def upsample(x: Tensor) -> Tensor:
    """The skip picture at twice its size: zero-stuffing, then the same filter with padding (2, 1): n x C x 2H x 2W.

    One strided transposed convolution does both. Inside it equals bilinear interpolation; outside lie zeros.
    """
    channels = x.shape[1]
    kernel = _filter(channels, x.device, x.dtype)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def scale_channels(x: Tensor, factors: Tensor) -> Tensor:
    """n x C x H x W times n x C, in place where no gradient needs the old values (x must be the caller's own)."""
    factors = factors[:, :, None, None].to(x.dtype)
    if torch.is_grad_enabled() and (x.requires_grad or factors.requires_grad):
        return x * factors
    return x.mul_(factors)


def activate(x: Tensor, addends: tuple[Tensor, ...]) -> Tensor:
    """leaky ReLU (slope 0.2) of x plus the broadcast `addends`, in place: x must be a tensor that nobody else reads.

    The gain sqrt 2 is the caller's: leaky ReLU is positively homogeneous, so it sits in factors that are small tensors.
    """
    for addend in addends:
        x = x.add_(addend)
    return F.leaky_relu_(x, SLOPE)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """1 / the L2 norm of each output channel's modulated weights (Karras et al. 2020, equation 3).

    Args:
        weight: C_out x C_in x k x k.
        style: n x C_in, the equalised rate's factor included.

    Returns:
        n x C_out.
    """
    # Either order of axes is a view of the memory that the convolution (C_in innermost) or its transposed kin (C_out
    # innermost) reads: one matrix product over all taps is faster than a sum over strided ones.
    last_is_out = weight.stride(0) == 1
    taps = weight.permute(1, 2, 3, 0) if last_is_out else weight.transpose(0, 1)
    with full_precision(weight):
        energy = style.square() @ taps.flatten(1).square()
    folded = energy.unflatten(1, (-1, weight.shape[0]) if last_is_out else (weight.shape[0], -1))
    return torch.rsqrt(folded.sum(dim=1 if last_is_out else 2) + DEMODULATION_EPS)


def full_precision(x: Tensor) -> torch.autocast:
    """Switches an outer autocast off on x's device: styles, demodulation and the skip picture stay in float32."""
    return torch.autocast(x.device.type, enabled=False)
