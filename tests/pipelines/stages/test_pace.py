"""Steps within a time."""

from __future__ import annotations

import pytest
import torch

from pipelines.stages.pace import paced


def test_without_a_limit_every_step_comes() -> None:
    assert list(paced(4, None, torch.device("cpu"))) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_with_little_time_the_plan_is_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("pipelines.stages.pace.time.monotonic", lambda: float(next(now)))
    made = list(paced(20, 5.0, torch.device("cpu")))  # a step takes a second
    assert made == [(0, 0), (1, 4), (2, 8), (3, 12), (4, 16)]
    assert len(list(paced(20, 1e9, torch.device("cpu")))) == 20
