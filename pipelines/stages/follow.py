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


def evened(feature: Tensor, reference: Tensor) -> Tensor:
    """Channels of `feature` in the units of `reference`: without this a few large channels decide alone."""
    mean = reference.mean(dim=(2, 3), keepdim=True)
    std = reference.std(dim=(2, 3), keepdim=True)
    return (feature - mean) / (std + 1e-3 * std.mean(dim=1, keepdim=True) + 1e-6)


def motion(base: Tensor, edited: Tensor, radius: int = RADIUS) -> Tensor:
    """Where each place of the edited feature was in the base: n x 2 x H x W, (dx, dy) in feature pixels; 0 = unmoved.

    Args:
        base, edited: n x C x H x W.
    """
    b, e = evened(base, base), evened(edited, base)
    padded = F.pad(b, (radius,) * 4, mode="replicate")
    height, width = b.shape[2:]
    costs, shifts = [], []
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            window = padded[:, :, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            costs.append((e - window).square().mean(dim=1))
            shifts.append((float(dx), float(dy)))
    cost = _pooled(torch.stack(costs, dim=1))
    shift = torch.tensor(shifts, device=base.device, dtype=base.dtype)
    # Matching decides only where the feature moved; elsewhere staying must win by a clear margin, or noise would stir it.
    still = cost[:, len(shifts) // 2].unsqueeze(1)
    scale = still.mean(dim=(2, 3), keepdim=True) + 1e-8
    energy = cost / scale + STIFFNESS * shift.square().sum(dim=1)[None, :, None, None]
    weights = torch.softmax(-SHARPNESS * energy, dim=1)
    flow = torch.einsum("nkhw,kc->nchw", weights, shift)
    moved = (still - cost.amin(dim=1, keepdim=True)) / scale
    return _smooth(flow * torch.tanh(4 * moved))


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
