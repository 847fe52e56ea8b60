"""Building blocks of the official SDIC networks (Zhang et al., arXiv 2312.07079), under the official key names."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.01  # of every leaky ReLU here except `ScaledLeakyReLU`


class ConvNormAct(nn.Module):
    """Convolution without bias, batch norm, leaky ReLU 0.01.

    Args:
        conv: the convolution, 1-D to 3-D, plain or transposed.
        norm: batch norm of the same dimension; both follow `conv` in the state dict as ``conv`` and ``bn``.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.bn = norm

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(self.bn(self.conv(x)), SLOPE)


def cbl(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> ConvNormAct:
    """2-D block, padded so that stride 1 keeps the size."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return ConvNormAct(conv, nn.BatchNorm2d(c_out))


def cbl_up(c_in: int, c_out: int) -> ConvNormAct:
    """2-D transposed block, kernel 4, to twice the size."""
    return ConvNormAct(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm2d(c_out))


def cbl3d(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> ConvNormAct:
    """3-D block; strides act on depth, height and width alike."""
    conv = nn.Conv3d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return ConvNormAct(conv, nn.BatchNorm3d(c_out))


def cbl3d_flat(channels: int) -> ConvNormAct:
    """3-D block with a 1 x 5 x 5 kernel: each depth slice by itself."""
    conv = nn.Conv3d(channels, channels, (1, 5, 5), 1, (0, 2, 2), bias=False)
    return ConvNormAct(conv, nn.BatchNorm3d(channels))


def cbl3d_up(c_in: int, c_out: int) -> ConvNormAct:
    """3-D transposed block, kernel 4, to twice the depth, height and width."""
    return ConvNormAct(nn.ConvTranspose3d(c_in, c_out, 4, 2, 1, bias=False), nn.BatchNorm3d(c_out))


class UpMerge(nn.Module):
    """n x c_in x H x W and a skip n x c x 2H x 2W -> n x 2c x 2H x 2W."""

    def __init__(self, c_in: int, c: int) -> None:
        super().__init__()
        self.conv1 = cbl_up(c_in, c)
        self.conv2 = cbl(2 * c, 2 * c)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        merged: Tensor = self.conv2(torch.cat((self.conv1(x), skip), dim=1))
        return merged


class ResidualIR(nn.Module):
    """Residual block of ArcFace's IR networks without squeeze-excitation (Deng et al. 2019), stride 1."""

    def __init__(self, c_in: int, c: int) -> None:
        super().__init__()
        self.shortcut_layer = (
            nn.Identity() if c_in == c else nn.Sequential(nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c, 3, 1, 1, bias=False),
            nn.PReLU(c),
            nn.Conv2d(c, c, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.shortcut_layer(x) + self.res_layer(x)
        return result


class EqualConv2d(nn.Module):
    """3 x 3 convolution with bias whose weights are multiplied by 1 / sqrt(9 c_in) when used (Karras et al. 2018)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.scale = 1 / math.sqrt(9 * c_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=1)


class ScaledLeakyReLU(nn.Module):
    """Leaky ReLU 0.2 times sqrt 2, which keeps the variance."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2) * math.sqrt(2)
