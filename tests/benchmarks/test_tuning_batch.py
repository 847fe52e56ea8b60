"""Kernels of several faces in one pass are those of each alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.tuning_batch import Mixes, apart
from pipelines.stages.lending import Lent


def test_every_picture_has_its_own_kernel() -> None:
    torch.manual_seed(0)
    mix = nn.Conv2d(4, 6, 1)
    x = torch.randn(2, 4, 5, 3).contiguous(memory_format=torch.channels_last)
    weights = {"weight": torch.randn(2, 6, 4, 1, 1), "bias": torch.randn(2, 6)}
    made = Lent(Mixes(mix)).run(weights, lambda lent: lent(x))
    alone = [nn.functional.conv2d(x[i : i + 1], weights["weight"][i], weights["bias"][i]) for i in range(2)]
    torch.testing.assert_close(made, torch.cat(alone))
    torch.testing.assert_close(Mixes(mix)(x), mix(x))


def test_how_far_deltas_are_apart() -> None:
    one = [{"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([1.0, 0.0])}]
    other = [{"a": torch.tensor([3.0, 4.5])}, {"a": torch.tensor([1.0, 0.2])}]
    assert apart(one, other) == pytest.approx(0.2)
