"""Blurring, reading and resizing of pictures on any device: the small tools that every part of the composer needs.

All work face by face in the batch: a face's result does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

FloatArray = npt.NDArray[np.float32]
MAX_SIGMA = 3.0  # px; wider blurs shrink the picture first


@lru_cache(maxsize=64)
def _weights(sigma: float) -> tuple[float, ...]:
    radius = max(1, math.ceil(2.5 * sigma))
    values = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)]
    return tuple(value / sum(values) for value in values)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian of `sigma` pixels over x n x C x H x W; borders repeat. Wide blurs work on a copy shrunk by powers of two."""
    if sigma <= 0:
        return x
    if sigma > MAX_SIGMA and min(x.shape[-2:]) >= 16 and x.shape[-1] % 2 == 0 and x.shape[-2] % 2 == 0:
        # Shrinking and growing blur a little by themselves: the result is slightly wider than `sigma`.
        return enlarge(blur(F.avg_pool2d(x, 2), sigma / 2), 2)
    line = _weights(round(sigma, 4))
    return _cv_lines(x, line) if x.device.type == "cpu" and not x.requires_grad else _torch_lines(x, line)


def _torch_lines(x: Tensor, line: tuple[float, ...]) -> Tensor:
    n, channels, height, width = x.shape
    weights, radius = x.new_tensor(line), len(line) // 2
    flat = x.reshape(n * channels, 1, height, width)
    mode = "replicate"
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode=mode), weights.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode=mode), weights.view(1, 1, -1, 1))
    return flat.reshape(n, channels, height, width)


def _cv_lines(x: Tensor, line: tuple[float, ...]) -> Tensor:
    """As `_torch_lines`; torch's convolution of one channel is several times slower on a CPU."""
    weights, edge = np.array(line, np.float32), cv2.BORDER_REPLICATE
    return _by_plane(
        x, x.shape[-2:], lambda plane, target: cv2.sepFilter2D(plane, -1, weights, weights, dst=target, borderType=edge)
    )


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear, pixel centres kept: n x C x H x W -> n x C x factor H x factor W."""
    if factor == 1:
        return x
    if x.device.type == "cpu" and not x.requires_grad and x.dtype == torch.float32:
        return _cv_enlarged(x, factor)
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _cv_enlarged(x: Tensor, factor: int) -> Tensor:
    """As `F.interpolate` to rounding; torch's is several times slower on a CPU."""
    height, width = x.shape[-2] * factor, x.shape[-1] * factor
    return _by_plane(x, (height, width), lambda plane, target: cv2.resize(plane, (width, height), dst=target))


def _by_plane(x: Tensor, size: Sequence[int], work: Callable[[FloatArray, FloatArray], object]) -> Tensor:
    """x n x C x H x W on a CPU, each plane through `work(plane, target)`: n x C x size."""
    flat = x.contiguous().view(-1, *x.shape[-2:]).numpy()
    made = np.empty((len(flat), *size), np.float32)
    for plane, target in zip(flat, made, strict=True):
        work(plane, target)
    return torch.from_numpy(made).view(*x.shape[:2], *size)


def dilate(x: Tensor, radius: int) -> Tensor:
    """The greatest value within a square of `radius` pixels."""
    if x.device.type == "cpu" and not x.requires_grad and x.dtype == torch.float32:
        square = np.ones((2 * radius + 1,) * 2, np.uint8)
        return _by_plane(x, x.shape[-2:], lambda plane, target: cv2.dilate(plane, square, dst=target))
    return F.max_pool2d(x, 2 * radius + 1, stride=1, padding=radius)


def reached(seed: Tensor, room: Tensor, radius: int, steps: int) -> Tensor:
    """What of `room` is connected to `seed`, both n x 1 x H x W in [0, 1]: geodesic growth, `radius` pixels a step."""
    for _ in range(steps):
        seed = torch.minimum(dilate(seed, radius), room)
    return seed


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, a cubic without corners between; `low` > `high` falls instead."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def pixel_grid(height: int, width: int, like: Tensor, top: int = 0, left: int = 0) -> Tensor:
    """1 x 2 x H x W: (x, y) of every pixel."""
    ys = torch.arange(top, top + height, device=like.device, dtype=like.dtype)
    xs = torch.arange(left, left + width, device=like.device, dtype=like.dtype)
    return torch.stack((xs.expand(height, width), ys[:, None].expand(height, width)))[None]


def warp(x: Tensor, flow: Tensor, corner: tuple[int, int] = (0, 0), mode: str = "bilinear") -> Tensor:
    """x n x C x H x W read at each place of `flow` plus `flow`; borders repeat.

    Args:
        flow: n x 2 x h x w, (dx, dy) in pixels of x: where each pixel of the result comes from; 0 = from its own place.
        corner: (y, x) of the flow's first pixel in x.
        mode: ``bilinear`` or ``bicubic`` (keeps the finest detail).
    """
    height, width = x.shape[-2:]
    places = pixel_grid(flow.shape[2], flow.shape[3], flow, *corner) + flow
    scale = places.new_tensor([2 / (width - 1), 2 / (height - 1)])
    grid = places.permute(0, 2, 3, 1) * scale - 1
    return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=True)


def filled(x: Tensor, known: Tensor) -> Tensor:
    """x n x C x H x H where `known` n x 1 x H x H is 1; elsewhere what lies around it, the wider the gap the softer.

    Push and pull (Gortler et al., The Lumigraph, SIGGRAPH 1996): means of what is known, coarse levels under fine ones.
    """
    weight = F.avg_pool2d(known, 2)
    small = F.avg_pool2d(x * known, 2) / weight.clamp_min(1e-4)
    if small.shape[-1] > 2:
        small = filled(small, (4 * weight).clamp(max=1))
    return torch.lerp(enlarge(small, 2), x, known)


def length(flow: Tensor) -> Tensor:
    """n x 2 x H x W -> n x 1 x H x W; several times quicker than `Tensor.norm` over two channels."""
    return (flow[:, :1].square() + flow[:, 1:].square()).sqrt()


def derivatives(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Of n x 2 x H x W along x and along y, each of that shape, by central differences; borders repeat."""
    wide = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def luma(x: Tensor) -> Tensor:
    """n x 3 x H x W -> n x 1 x H x W, Rec. 601."""
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def weighted_blur(x: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """Normalised convolution (Knutsson and Westin 1993): the mean of x around each place, counted by `weight` n x 1 x H x W."""
    return blur(x * weight, sigma) / blur(weight, sigma).clamp_min(1e-3)
