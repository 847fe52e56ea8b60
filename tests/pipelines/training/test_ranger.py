"""Ranger: resuming, its three parts one by one, bad numbers. Its course against the official one: tests/conformance."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import nn

from pipelines.training.ranger import Ranger, centred, rectification


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2))


def _train(net: nn.Module, optimiser: Ranger, steps: range) -> None:
    for step in steps:
        x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().sum().backward()
        optimiser.step()


def test_a_run_that_goes_on_from_a_file_equals_one_without_a_break() -> None:
    whole = _net()
    _train(whole, Ranger(whole.parameters(), lr=0.01), range(20))
    first = _net()
    optimiser = Ranger(first.parameters(), lr=0.01)
    _train(first, optimiser, range(9))  # between two slow steps
    file = io.BytesIO()
    torch.save({"net": first.state_dict(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    second = _net()
    second.load_state_dict(stored["net"])
    optimiser = Ranger(second.parameters(), lr=0.5)
    optimiser.load_state_dict(stored["optimiser"])
    _train(second, optimiser, range(9, 20))
    for expected, found in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_a_gradient_is_centred_over_all_but_its_first_dimension() -> None:
    gradient = torch.randn(4, 3, 2, 2)
    assert centred(gradient).flatten(1).mean(1).abs().max() < 1e-6
    torch.testing.assert_close(centred(gradient)[1] - gradient[1], (-gradient[1].mean()).expand(3, 2, 2))
    bias = torch.randn(5)
    assert torch.equal(centred(bias), bias)


def test_early_steps_are_momentum_and_later_ones_rectified() -> None:
    """RAdam's length of the moving average passes 5 at step 6 for beta2 = 0.999 (algorithm 2, by hand)."""
    assert rectification(5, 0.95, 0.999, 5.0) == (pytest.approx(1 / (1 - 0.95**5)), False)
    factor, rectified = rectification(6, 0.95, 0.999, 5.0)
    decay, longest = 0.999**6, 1999.0
    length = longest - 12 * decay / (1 - decay)
    expected = math.sqrt((length - 4) / (longest - 4) * (length - 2) / (longest - 2) * longest / length)
    assert rectified
    assert factor == pytest.approx(expected * math.sqrt(1 - decay) / (1 - 0.95**6), rel=1e-9)


def test_every_sixth_step_goes_halfway_back_to_the_slow_weights() -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimiser = Ranger([weight], lr=0.1, betas=(0.0, 0.999))
    fast = []
    for _ in range(6):
        weight.grad = torch.full((3,), -1.0)
        optimiser.step()
        fast.append(weight.detach()[0].item())
    last, _ = rectification(6, 0.0, 0.999, 5.0)
    full = fast[4] + 0.1 * last / (math.sqrt(1 - 0.999**6) + 1e-5)
    assert fast[5] == pytest.approx(full / 2, rel=1e-4)
    assert torch.equal(optimiser.state[weight]["slow"], weight.detach())


def test_parameters_without_a_gradient_stay() -> None:
    still, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimiser = Ranger([still, moved], lr=0.1)
    moved.grad = torch.ones(2)
    before = copy.deepcopy(still)
    optimiser.step()
    assert torch.equal(still, before)
    assert not torch.equal(moved, still)


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"period": 0}, {"alpha": 0.0}, {"betas": (1.0, 0.9)}, {"eps": -1.0}])
def test_bad_numbers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="ranger needs"):
        Ranger([nn.Parameter(torch.ones(1))], **bad)  # type: ignore[arg-type]
