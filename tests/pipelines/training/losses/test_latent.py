"""Losses on codes by hand-computed cases; the official numbers are in tests/conformance."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.models.encoders.latent_discriminator import LatentDiscriminator
from pipelines.training.losses.latent import adversarial_loss, delta_norm, discriminator_loss, r1


def test_an_undecided_discriminator_costs_twice_log_two() -> None:
    assert discriminator_loss(torch.zeros(3, 1), torch.zeros(5, 1)).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(torch.full((3, 1), 20.0), torch.full((3, 1), -20.0)).item() < 1e-6
    assert adversarial_loss(torch.zeros(2, 4, 1)).item() == pytest.approx(math.log(2))


def test_r1_of_a_linear_judge_is_its_squared_length_and_trains_it() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    real = torch.randn(6, 2, requires_grad=True)
    penalty = r1((real @ weight)[:, None], real)
    assert penalty.item() == pytest.approx(25)
    penalty.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_delta_counts_the_rows_of_the_stage() -> None:
    codes = torch.zeros(2, 4, 9)
    codes[:, 1] = 1  # length 3 away from row 0
    codes[0, 2, 0] = 5
    codes[:, 3, :4] = 1
    found = [delta_norm(codes, stage).item() for stage in range(6)]
    assert found == pytest.approx([0, 3, 5.5, 7.5, 0, 0])


def test_delta_of_equal_rows_has_a_finite_gradient() -> None:
    codes = torch.ones(2, 3, 8, requires_grad=True)
    delta_norm(codes, 2).backward()
    assert codes.grad is not None
    assert torch.isfinite(codes.grad).all()


def test_the_discriminator_judges_rows_one_by_one() -> None:
    torch.manual_seed(0)
    judge = LatentDiscriminator(dim=8)
    codes = torch.randn(2, 5, 8)
    rows = judge(codes)
    assert rows.shape == (2, 5, 1)
    torch.testing.assert_close(rows[1, 3], judge(codes[1, 3]))
    assert sorted({key.split(".")[1] for key in judge.state_dict()}) == ["0", "2", "4", "6"]
