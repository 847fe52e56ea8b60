"""Feature pairs: exact before and after an edit, and the same for the same seeds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.models.gra.network import POINTS
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.training.data.edit_pairs import draw_pair
from pipelines.training.data.feature_pairs import LEAST, SETTINGS, draw_feature_pairs
from pipelines.types import Generator
from tests.lively import lively_generator

NAMES = ("yaw", "pitch", "smile", "mouth_open", "age")


def directions() -> DirectionSet:
    return DirectionSet([Direction(name, 0.1 * torch.ones(18, 16), "", "") for name in NAMES])


def generator() -> Generator:
    made = lively_generator()
    made.w_std.fill_(1)
    return made


def shares(part: Tensor, whole: Tensor) -> Tensor:
    """How large `part` is of `whole`, for each of n pairs; everywhere alike."""
    share = (part * whole).flatten(1).sum(dim=1) / whole.flatten(1).square().sum(dim=1)
    assert torch.allclose(part, share[:, None, None, None] * whole, atol=1e-4)
    return share


def test_residuals_lead_to_the_true_face_before_and_after_the_edit() -> None:
    made, seeds = generator(), (5, 6)
    settings = replace(SETTINGS, plain=1.0)
    pairs = draw_feature_pairs(made, directions(), seeds, POINTS, settings, alone=0)
    drawn = [draw_pair(made, seed, settings) for seed in seeds]
    true = torch.stack([pair.w for pair in drawn])
    change = torch.cat([directions().apply(torch.zeros_like(pair.w[None]), [pair.term]) for pair in drawn])
    plain = made.features(true + torch.stack([pair.error for pair in drawn]), POINTS)
    assert torch.allclose(pairs.before[16], plain[16])
    assert not torch.allclose(pairs.before[32], plain[32])  # corrected below
    for point in POINTS:
        before = made.features(true, (point,))[point] - pairs.before[point]
        after = made.features(true + change, (point,))[point] - pairs.after[point]
        kept = shares(pairs.residual[point], before)
        assert torch.allclose(kept, shares(pairs.target[point], after), atol=1e-4)
        assert kept.min() >= LEAST - 1e-4
        assert kept.max() <= 1 + 1e-4


def test_alone_the_last_stage_has_everything() -> None:
    made, settings = generator(), replace(SETTINGS, plain=1.0)
    pairs = draw_feature_pairs(made, directions(), (5, 6), POINTS, settings, alone=1)
    assert not any(part[point].any() for part in (pairs.residual, pairs.target) for point in POINTS[:-1])
    assert pairs.residual[64].any()
    assert pairs.target[64].any()
    last = draw_feature_pairs(made, directions(), (5, 6), POINTS[-1:], settings)
    shares(pairs.residual[64], last.residual[64])


def test_occluders_are_the_same_before_and_after() -> None:
    made = generator()
    settings = replace(SETTINGS, plain=0.0, edits=("smile",), kinds=("background",))
    bare = draw_feature_pairs(made, directions(), (1, 2), (16,), replace(settings, plain=1.0))
    pairs = draw_feature_pairs(made, directions(), (1, 2), (16,), settings)
    there = (pairs.residual[16] - bare.residual[16]).abs().sum(dim=1) > 1e-4
    assert there.any()
    for pair in range(2):
        share = shares(bare.residual[16], made_residual(made, (1, 2), settings))[pair]
        shown = [
            pairs.before[16][pair] + pairs.residual[16][pair] / share,
            pairs.after[16][pair] + pairs.target[16][pair] / share,
        ]
        corner = there[pair] & there[pair].roll(1, 0) & there[pair].roll(-1, 0)
        whole = (shown[0] - shown[1]).abs().amax(dim=0) < 1e-3
        assert (whole & corner).any()


def made_residual(made: Generator, seeds: tuple[int, ...], settings: object) -> Tensor:
    drawn = [draw_pair(made, seed, replace(SETTINGS, edits=("smile",))) for seed in seeds]
    true = torch.stack([pair.w for pair in drawn])
    codes = true + torch.stack([pair.error for pair in drawn])
    return made.features(true, (16,))[16] - made.features(codes, (16,))[16]


def test_the_same_seeds_are_the_same_pairs() -> None:
    first, again = (draw_feature_pairs(generator(), directions(), (1, 2), POINTS) for _ in range(2))
    assert first.terms == again.terms
    assert all(torch.equal(first.target[point], again.target[point]) for point in POINTS)
