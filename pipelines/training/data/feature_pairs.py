"""Pairs before and after an edit in feature space: what a residual is, and what it becomes, both exact, without any picture.

For generated codes v and any estimate w of them, the detail that w lacks is known at every stage, F(v) - F(w), and so is
what it is after an edit, F(v + d) - F(w + d). That costs four passes to 64 px a pair and no decoding (idea: residual
editing on pairs of StyleFeatureEditor, Bobkov et al. 2024, taken to features). Codes, errors, edits and
shapes of occluders are those of `pipelines.training.data.edit_pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.training.data.edit_pairs import PairSettings, draw_pair, pair_detail
from pipelines.types import Generator, Injection, Point

SETTINGS = PairSettings(
    edits=("yaw", "yaw", "pitch", "smile", "mouth_open", "age"), strength=2.3, plain=0.4, noise=0.5, pulled=0.6
)
LEAST = 0.4  # of a residual that is given, at the least: a network finds part of it, and not the same everywhere
# Share of the pairs of which only the last stage adds something, as in a reconstruction that begins as SDIC's.
ALONE = 0.5


@dataclass(frozen=True)
class FeaturePairs:
    """n pairs; point -> n x C x r x r each.

    Attributes:
        edited: n x L x 512, the estimated codes after the edit.
        before, after: the features that arrive at a stage, unedited and edited, the stages below being corrected.
        residual: what the stage adds before the edit.
        target: what it ought to add after it.
        terms: what the edit was, one (name, strength) per pair.
    """

    edited: Tensor
    before: Mapping[Point, Tensor]
    after: Mapping[Point, Tensor]
    residual: Mapping[Point, Tensor]
    target: Mapping[Point, Tensor]
    terms: tuple[tuple[str, float], ...]


@torch.no_grad()
def draw_feature_pairs(
    generator: Generator,
    directions: DirectionSet,
    seeds: Sequence[int],
    points: tuple[Point, ...],
    settings: PairSettings = SETTINGS,
    alone: float = ALONE,
) -> FeaturePairs:
    """One pair per seed, on the generator's device; an occluder is another face of the batch, seen through a drawn shape.

    Args:
        alone: share of the pairs of which only the last stage adds something.

    Raises:
        UsageError: `settings.edits` names an unknown direction.
    """
    pairs = [draw_pair(generator, seed, settings) for seed in seeds]
    change = torch.cat([directions.apply(torch.zeros_like(pair.w[None]), [pair.term]) for pair in pairs])
    true = torch.stack([pair.w for pair in pairs])
    codes = true + torch.stack([pair.error for pair in pairs])
    masks = _masks(seeds, [pair.term[0] for pair in pairs], settings).to(codes)
    shares = torch.stack([_shares(seed, len(points), alone) for seed in seeds]).to(codes)
    plain = generator.features(true, points)
    occluder = {point: feature.flip(3).roll(1, 0) for point, feature in plain.items()}

    def climb(codes: Tensor, wanted: Mapping[Point, Tensor]) -> tuple[dict[Point, Tensor], dict[Point, Tensor]]:
        arrived: dict[Point, Tensor] = {}
        residual: dict[Point, Tensor] = {}

        def correct(x: Tensor, point: Point) -> Tensor:
            mask = F.adaptive_avg_pool2d(masks, (x.shape[2], x.shape[3]))
            whole = wanted[point].lerp(occluder[point], mask) - x
            arrived[point] = x
            residual[point] = whole * shares[:, points.index(point), None, None, None]
            return x + residual[point]

        inject: dict[Point, Injection] = {point: partial(correct, point=point) for point in points}
        generator.features(codes, points[-1:], inject=inject)
        return arrived, residual

    before, residual = climb(codes, plain)
    after, target = climb(codes + change, generator.features(true + change, points))
    return FeaturePairs(codes + change, before, after, residual, target, tuple(pair.term for pair in pairs))


def _masks(seeds: Sequence[int], edits: Sequence[str], settings: PairSettings) -> Tensor:
    """n x 1 x 256 x 256 in [0, 1]: where the occluder is."""
    details = [pair_detail(seed, edit, settings) for seed, edit in zip(seeds, edits, strict=True)]
    return torch.stack([torch.zeros(1, 256, 256) if detail is None else detail.alpha for detail in details])


def _shares(seed: int, count: int, alone: float) -> Tensor:
    """Of one pair's residual at each of `count` stages; of a share `alone` of the pairs nothing but at the last."""
    drawn = torch.rand(count + 1, generator=torch.Generator().manual_seed(seed ^ 0x5EED))
    shares = LEAST + (1 - LEAST) * drawn[:count]
    shares[:-1] *= drawn[count] >= alone
    return shares
