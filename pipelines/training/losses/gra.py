"""What gradual residuals and their alignment cost in training.

Aligned residuals are compared with exact ones of feature pairs, and with themselves after an artificial misalignment
(named by Li et al., arXiv 2402.14398; warps as Wang et al., HFGI, 2022, use them). Reconstruction is judged by the image terms
that SDIC uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.gra.align import Aligned, Source
from pipelines.models.gra.network import POINTS, GRANetwork
from pipelines.training.data.feature_pairs import FeaturePairs
from pipelines.types import Point

CLOSED = 0.01  # weight of 1 - confidence, so that it does not close everywhere
SLANT = 0.15  # largest distortion of a warp's corners, as a share of the side
TURN, SHIFT, ZOOM = math.radians(15), 0.08, 0.1


def pair_terms(network: GRANetwork, pairs: FeaturePairs) -> dict[str, Tensor]:
    """Mean absolute error of aligned residuals at each stage, in deviations; the stages below are given as they ought to be."""
    return align_errors(*aligned_pairs(network, pairs))


def aligned_pairs(network: GRANetwork, pairs: FeaturePairs) -> tuple[dict[Point, Aligned], dict[Point, Tensor]]:
    """What the aligners make of the pairs' residuals, and what they ought to, in deviations."""
    sources, targets, edited = {}, {}, {}
    for point in pairs.before:
        evening = network.evening(point)
        residual = evening.size(pairs.residual[point])
        sources[point] = network.aligner(point).source(evening(pairs.before[point]), residual)
        targets[point] = evening.size(pairs.target[point])
        edited[point] = evening(pairs.after[point])
    return aligned(network, edited, sources), targets


def aligned(
    network: GRANetwork, edited: Mapping[Point, Tensor], sources: Mapping[Point, Source]
) -> dict[Point, Aligned]:
    """Every stage of `edited` (in its order) aligned to evened features that are given, coarse to fine."""
    found: dict[Point, Aligned] = {}
    parents = None
    for point, feature in edited.items():
        found[point] = network.aligner(point)(feature, sources[point], parents)
        parents = found[point].match.index
    return found


def misaligned_terms(network: GRANetwork, sources: Mapping[Point, Source], rng: torch.Generator) -> dict[str, Tensor]:
    """Sources warped by one random warp must come back: errors as `pair_terms`, where the warp left the frame not counted.

    Args:
        sources: of photos; no gradient goes into their residuals.
    """
    grids = warp_grids(len(sources[POINTS[0]].feature), rng)
    moved, kept, targets, edited = {}, {}, {}, {}
    for point in POINTS:
        feature, residual = sources[point].feature.detach(), sources[point].residual.detach()
        grid = F.interpolate(grids, size=feature.shape[2:], mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        grid = grid.to(feature)
        both = F.grid_sample(torch.cat((feature, residual), 1), grid, padding_mode="border", align_corners=True)
        moved[point] = network.aligner(point).source(*both.chunk(2, dim=1))
        kept[point] = _covered(grid)
        edited[point], targets[point] = feature, residual
    return align_errors(aligned(network, edited, moved), targets, kept)


def warp_grids(count: int, rng: torch.Generator) -> Tensor:
    """Where to read for a random perspective with a turn, a shift and a zoom: n x 2 x 33 x 33 (x, y) in [-1, 1]."""
    line = torch.linspace(-1, 1, 33)
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle, dx, dy, zoom, px, py = (2 * torch.rand(6, count, 1, 1, generator=rng) - 1).unbind(0)
    angle, zoom = angle * TURN, 1 + zoom * ZOOM
    depth = 1 + SLANT * (px * x + py * y)
    u = (zoom * (torch.cos(angle) * x - torch.sin(angle) * y)) / depth + 2 * SHIFT * dx
    v = (zoom * (torch.sin(angle) * x + torch.cos(angle) * y)) / depth + 2 * SHIFT * dy
    return torch.stack((u, v), dim=1)


def _covered(grid: Tensor) -> Tensor:
    """Which places a warped picture still shows: n x 1 x r x r, 1 or 0.

    Args:
        grid: n x r x r x 2, where the warped picture reads.
    """
    n, side = grid.shape[0], grid.shape[1]
    place = ((grid + 1) / 2 * (side - 1)).round().long()
    inside = ((place >= 0) & (place < side)).all(dim=3)
    flat = (place[..., 1].clamp(0, side - 1) * side + place[..., 0].clamp(0, side - 1)).flatten(1)
    seen = torch.zeros(n, side * side, device=grid.device).scatter_reduce(1, flat, inside.flatten(1).float(), "amax")
    return F.max_pool2d(seen.view(n, 1, side, side), 3, stride=1, padding=1)


def align_errors(
    found: Mapping[Point, Aligned], targets: Mapping[Point, Tensor], kept: Mapping[Point, Tensor] | None = None
) -> dict[str, Tensor]:
    """`pair_terms`, of what is aligned already; `kept` n x 1 x r x r says which places count."""
    terms = {}
    for point, made in found.items():
        error = (made.residual - targets[point]).abs()
        if kept is not None:
            error = error * kept[point] / kept[point].mean().clamp(min=0.1)
        terms[f"aligned{point}"] = error.mean() + CLOSED * (1 - made.confidence).mean()
    return terms
