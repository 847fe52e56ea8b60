"""The layers of StyleGAN2 under the key names of rosinality's port, which the checkpoints of this field carry."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.generators.stylegan2_ops import (
    GAIN,
    SLOPE,
    activate,
    blur,
    demodulation,
    full_precision,
    scale_channels,
    upsample,
)
from pipelines.models.ops import pixel_norm

Modulation = Literal["auto", "activations", "weights"]


class EqualLinear(nn.Module):
    """n x d_in -> n x d_out with the equalised learning rate: the stored weight is N(0, 1 / rate^2).

    Args:
        rate: learning-rate multiplier (0.01 in the mapping network).
        bias: the bias before it is multiplied by `rate`.
        active: leaky ReLU 0.2 times sqrt 2 afterwards.
    """

    def __init__(self, d_in: int, d_out: int, rate: float = 1.0, bias: float = 0.0, active: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_out, d_in) / rate)
        self.bias = nn.Parameter(torch.full((d_out,), bias))
        self.rate, self.active = rate, active
        self.factor = rate / math.sqrt(d_in)

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight * self.factor, self.bias * self.rate)
        return F.leaky_relu(out, SLOPE) * GAIN if self.active else out


class PixelNorm(nn.Module):
    """Scales each vector to unit mean square; layer 0 of the mapping network."""

    def forward(self, z: Tensor) -> Tensor:
        return pixel_norm(z)


class ModulatedConv(nn.Module):
    """A k x k convolution whose input channels are scaled by a style, its output brought back to unit size.

    Two exact ways to compute it. "activations" multiplies the input and, afterwards, the output: any batch runs as one
    convolution. "weights" multiplies the kernel: cheaper where the picture has more pixels than the kernel has rows, but
    each picture then needs a kernel of its own. "auto" takes the second for one picture on a CPU, where it pays
    (benchmarks/stylegan2.py), and the first everywhere else.
    """

    mode: Modulation = "auto"

    def __init__(self, c_in: int, c_out: int, size: int, dim: int, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.factor = 1 / math.sqrt(c_in * size * size)
        kernel = torch.randn(c_out, c_in, size, size)
        self.weight = nn.Parameter(_laid_out(kernel, up).unsqueeze(0))
        self.modulation = EqualLinear(dim, c_in, bias=1.0)

    def kernel(self) -> Tensor:
        """C_out x C_in x k x k, a view of the stored weight; without the equalised rate's factor."""
        return self.weight[0]

    def forward(self, x: Tensor, style: Tensor, bias: Tensor) -> Tensor:
        """x n x C_in x H x W, style n x C_in -> n x C_out x H x W (twice the size where `up`).

        The result is sqrt 2 times (demodulated convolution + bias): the gain of the activation that follows.
        """
        kernel, style, bias = self.kernel(), style * self.factor, bias * GAIN
        demodulated = demodulation(kernel, style) * GAIN
        if self._on_weights(x):
            kernel = kernel * style[0, None, :, None, None] * demodulated[0, :, None, None, None]
            return self._convolve(x, kernel, bias)
        return self._convolve(x * style[:, :, None, None].to(x.dtype), kernel, bias, demodulated)

    def _on_weights(self, x: Tensor) -> bool:
        if len(x) > 1 or self.mode == "activations":
            return False
        pixels = x.shape[2] * x.shape[3]
        return self.mode == "weights" or (x.device.type == "cpu" and pixels > 9 * self.weight.shape[1])

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor, factors: Tensor | None = None) -> Tensor:
        """Convolution, factors per output channel, blur where up-sampling, bias: in the cheapest exact order."""
        if self.up:
            made = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)
            # At this point the map is smallest in number of passes: the blur adds the bias on its way.
            return blur(made if factors is None else scale_channels(made, factors), bias.to(made.dtype))
        if factors is None:
            return F.conv2d(x, kernel, bias, padding=kernel.shape[2] // 2)
        made = scale_channels(F.conv2d(x, kernel, padding=kernel.shape[2] // 2), factors)
        return made.add_(bias[:, None, None])


def _laid_out(kernel: Tensor, up: bool) -> Tensor:
    """The same numbers in the memory order that the convolution reads: channels last, of the transposed one where `up`."""
    if up:
        return kernel.transpose(0, 1).contiguous(memory_format=torch.channels_last).transpose(0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)


class NoiseStrength(nn.Module):
    """One learned number that scales a layer's noise map (key `noise.weight`)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Bias(nn.Module):
    """The activation's bias (key `activate.bias`)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(c_in, c_out, 3, dim, up)
        self.noise = NoiseStrength()
        self.activate = Bias(c_out)

    def style(self, row: Tensor) -> Tensor:
        """w n x dim -> the style n x C_in that multiplies the input channels."""
        with full_precision(row):
            made: Tensor = self.conv.modulation(row)
        return made

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x n x C_in x H x W -> n x C_out; noise 1 or n x 1 x H_out x W_out, None for none."""
        made = self.conv(x, style, self.activate.bias)
        if noise is None:
            return activate(made, ())
        return activate(made, (noise * (self.noise.weight * GAIN),))


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to RGB without demodulation, added to the up-sampled skip picture."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = _ToRGBConv(channels, dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def style(self, row: Tensor) -> Tensor:
        """w n x dim -> the style n x C that multiplies the input channels."""
        with full_precision(row):
            made: Tensor = self.conv.modulation(row)
        return made

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None) -> Tensor:
        """x n x C x H x W, skip n x 3 x H/2 x W/2 or None -> n x 3 x H x W, float32 even where x is half."""
        made: Tensor = self.conv(x, style).add_(self.bias)
        if skip is None:
            return made
        with full_precision(skip):
            return made.add_(upsample(skip))


class _ToRGBConv(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.factor = 1 / math.sqrt(channels)
        self.weight = nn.Parameter(torch.randn(1, 3, channels, 1, 1))
        self.modulation = EqualLinear(dim, channels, bias=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """The style goes into the 3 x C kernel: a tiny tensor even for many pictures."""
        n, channels, height, width = x.shape
        kernels = self.weight[0, :, :, 0, 0] * (style * self.factor)[:, None]
        # Channels-last memory is already the matrix (pixels x C) of this product.
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        made = torch.bmm(pixels, kernels.transpose(1, 2).to(pixels.dtype))
        made = made.to(torch.promote_types(made.dtype, torch.float32))
        return made.view(n, height, width, 3).permute(0, 3, 1, 2)
