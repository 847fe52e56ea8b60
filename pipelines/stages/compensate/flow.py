"""Where an edit moves things: dense correspondence between the unedited and the edited 64 px feature.

A residual is tied to places of the photo. When an edit turns the head, those places move; the residual must move along.
Both features come from one generator, so plain matching of features finds the motion, without a trained network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 4  # largest motion in feature pixels: 64 px of a 1024 px picture
STIFFNESS = 0.008  # cost of one feature pixel of motion, squared, in units of the mean matching cost
SHARPNESS = 40.0
NOISE = 1e-4  # matching costs this small are rounding, not motion


def normalize(reference: Tensor, *features: Tensor) -> list[Tensor]:
    """`features` with channels in the units of `reference`: without this a few large channels decide alone."""
    mean = reference.mean(dim=(2, 3), keepdim=True)
    std = (reference - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
    size = 1 / (std + 1e-3 * std.mean(dim=1, keepdim=True) + 1e-6)
    return [(feature - mean) * size for feature in features]


def feature_flow(base: Tensor, edited: Tensor, radius: int = RADIUS) -> Tensor:
    """Where each place of the edited feature was in the base: n x 2 x H x W, (dx, dy) in feature pixels; 0 = unmoved.

    Args:
        base, edited: n x C x H x W.
    """
    b, e = normalize(base, base, edited)
    reach = torch.arange(-radius, radius + 1, device=base.device, dtype=base.dtype)
    shift = torch.cartesian_prod(reach, reach).flip(1)  # (dx, dy), dx runs fastest
    costs = _costs(b, e, radius)
    # The unmoved cost is taken directly: what the edit leaves alone must cost nothing, to the last bit.
    costs[:, len(shift) // 2] = (e - b).square().mean(dim=1)
    cost = _pooled(costs)
    # Matching decides only where the feature moved; elsewhere staying must win by a clear margin, or noise would stir it.
    still = cost[:, len(shift) // 2].unsqueeze(1)
    scale = still.mean(dim=(2, 3), keepdim=True) + NOISE
    energy = cost / scale + STIFFNESS * shift.square().sum(dim=1)[None, :, None, None]
    weights = torch.softmax(-SHARPNESS * energy, dim=1)
    flow = torch.einsum("nkhw,kc->nchw", weights, shift)
    moved = (still - cost.amin(dim=1, keepdim=True)) / scale
    return _smooth(flow * torch.tanh(4 * moved))


def _costs(base: Tensor, edited: Tensor, radius: int) -> Tensor:
    """Mean squared difference of `edited` at each place to `base` at each shift of it: n x (2 radius + 1)^2 x H x W.

    By |e - b|^2 = |e|^2 + |b|^2 - 2 e.b, whose products of one row with another are a matrix product: a tenth of the time
    of a difference per shift.
    """
    n, channels, height, width = base.shape
    span = 2 * radius + 1
    rows = edited.permute(0, 2, 3, 1).contiguous()
    padded = F.pad(base, (radius,) * 4, mode="replicate").permute(0, 2, 3, 1).contiguous()
    sizes, own = padded.square().sum(dim=3), rows.square().sum(dim=3)
    costs = base.new_empty(n, span, span, height, width)
    for dy in range(span):
        window = padded[:, dy : dy + height]
        there = sizes[:, dy : dy + height].unfold(2, width, 1).transpose(1, 2)
        torch.add(own.unsqueeze(1), there, out=costs[:, dy])
        for face in range(n):  # one by one: their windows are contiguous, those of a batch would be copied
            products = torch.bmm(rows[face], window[face].transpose(1, 2))  # H x W x (W + 2 radius)
            line = products.stride(0)
            near = products.as_strided((span, height, width), (1, line, products.shape[2] + 1))
            costs[face, dy].sub_(near, alpha=2)
    return costs.flatten(1, 2).div_(channels).clamp_(min=0)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x n x C x H x W read at each place plus `flow` (bilinear, borders repeated); zero flow gives x exactly."""
    height, width = x.shape[2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=x.device, dtype=x.dtype),
        torch.arange(width, device=x.device, dtype=x.dtype),
        indexing="ij",
    )
    gx = 2 * (xs + flow[:, 0]) / (width - 1) - 1
    gy = 2 * (ys + flow[:, 1]) / (height - 1) - 1
    grid = torch.stack((gx, gy), dim=3)
    moved = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return torch.where((flow == 0).all(dim=1, keepdim=True), x, moved)


def _pooled(cost: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(cost, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def _smooth(flow: Tensor) -> Tensor:
    for _ in range(2):
        flow = F.avg_pool2d(F.pad(flow, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    return flow
