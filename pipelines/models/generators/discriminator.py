"""StyleGAN2's discriminator (Karras et al. 2020, arXiv 1912.04958) under the keys of the checkpoint that Diff-CAM uses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.generators.stylegan2 import config_f
from pipelines.models.generators.stylegan2_ops import GAIN, SLOPE, TAPS

GROUP = 4  # pictures over which the last stage's deviation is taken


class _Weight(nn.Module):
    """A weight that is stored as N(0, 1) and used over the root of its fan-in."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.randn(shape))
        self.factor = 1 / math.sqrt(math.prod(shape[1:]))

    def forward(self) -> Tensor:
        return self.weight_orig * self.factor


class _Conv(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = _Weight(c_out, c_in, kernel, kernel)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.conv(), stride=self.stride, padding=self.padding)


class _Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, active: bool) -> None:
        super().__init__()
        self.linear = _Weight(d_out, d_in)
        self.bias = nn.Parameter(torch.zeros(d_out))
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        made = F.linear(x, self.linear(), self.bias)
        return F.leaky_relu(made, SLOPE) * GAIN if self.active else made


class _Active(nn.Module):
    """Bias, leaky ReLU, gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], SLOPE) * GAIN


class _Blur(nn.Module):
    """Binomial 4 x 4 filter of sum 1 over a picture padded with zeros on every side."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        taps = torch.tensor(TAPS)
        self.kernel: Tensor = nn.Buffer(torch.outer(taps, taps) / taps.sum() ** 2, persistent=False)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x).expand(channels, 1, -1, -1)
        return F.conv2d(x, kernel, padding=self.padding, groups=channels)


class _Block(nn.Module):
    """To half the size, beside a shortcut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_Conv(c_in, c_in, 3, padding=1), _Active(c_in))
        self.conv2 = nn.Sequential(_Blur(2), _Conv(c_in, c_out, 3, 2), _Active(c_out))
        self.skip = nn.Sequential(_Blur(1), _Conv(c_in, c_out, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)
        return made


class Discriminator(nn.Module):
    """n x 3 x R x R in [-1, 1] -> n x 1, larger for pictures that look real.

    The last stage sees how much pictures of a group differ, so a score depends on its batch, as published.

    Args:
        resolution: R, a power of two from 8 on.
        channels: size -> channels; config-f where not given.
    """

    def __init__(self, resolution: int, channels: Mapping[int, int] | None = None) -> None:
        super().__init__()
        widths = dict(channels or config_f(resolution))
        sizes = sorted((size for size in widths if size <= resolution), reverse=True)
        first = nn.Sequential(_Conv(3, widths[resolution], 1), _Active(widths[resolution]))
        blocks = (_Block(widths[size], widths[size // 2]) for size in sizes[:-1])
        self.convs = nn.Sequential(first, *blocks)
        last = widths[4]
        self.final_conv = nn.Sequential(_Conv(last + 1, last, 3, padding=1), _Active(last))
        self.final_linear = nn.Sequential(_Linear(last * 16, last, True), _Linear(last, 1, False))

    def forward(self, x: Tensor) -> Tensor:
        made = self.convs(x)
        made = self.final_conv(torch.cat((made, _deviation(made)), dim=1))
        score: Tensor = self.final_linear(made.flatten(1))
        return score


def _deviation(x: Tensor) -> Tensor:
    """n x 1 x H x W: mean deviation within each group of `GROUP` (or all n) pictures (Karras et al. 2018, section 3)."""
    n, *shape = x.shape
    group = min(n, GROUP)
    spread = x.view(group, n // group, *shape).var(dim=0, correction=0).add(1e-8).sqrt()
    return spread.mean(dim=(1, 2, 3)).repeat(group).view(n, 1, 1, 1).expand(n, 1, *shape[1:])
