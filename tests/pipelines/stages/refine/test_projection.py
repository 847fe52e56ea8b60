"""Schedules and noise terms of a projection, by their defining properties; official numbers: tests/conformance."""

from __future__ import annotations

import pytest
import torch

from pipelines.stages.refine.projection import code_noise, far_code, learning_rate, noise_penalty, normalised_noise


def test_the_rate_rises_holds_and_falls() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == 0
    assert rates[5:75] == pytest.approx([0.1] * 70)
    assert rates[75:] == sorted(rates[75:], reverse=True)
    assert rates[-1] < 0.001


def test_code_noise_ends_at_three_quarters() -> None:
    assert code_noise(0, 100, w_std=2.0) == pytest.approx(0.1)
    assert code_noise(30, 100) == pytest.approx(0.05 * 0.36)
    assert code_noise(75, 100) == code_noise(99, 100) == 0


def test_a_picture_is_penalised_and_noise_is_not() -> None:
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(1, 1, 64, 64, generator=rng)
    smooth = torch.nn.functional.interpolate(torch.randn(1, 1, 8, 8, generator=rng), 64, mode="bilinear")
    assert noise_penalty([smooth]) > 20 * noise_penalty([white])
    assert noise_penalty([white]) < 0.005
    torch.testing.assert_close(noise_penalty([white, smooth]), noise_penalty([white]) + noise_penalty([smooth]))
    both = noise_penalty([torch.cat([white, smooth])])
    torch.testing.assert_close(both, torch.cat([noise_penalty([white]), noise_penalty([smooth])]))


def test_a_small_map_counts_once() -> None:
    noise = torch.randn(1, 1, 4, 4)
    by_hand = sum((noise * noise.roll(1, dim)).mean() ** 2 for dim in (2, 3))
    torch.testing.assert_close(noise_penalty([noise])[0], by_hand)


def test_normalised_noise() -> None:
    made = normalised_noise(torch.rand(2, 1, 16, 16) * torch.tensor([7.0, 1.0]).view(2, 1, 1, 1) - 2)
    for each in made:
        assert each.mean().abs() < 1e-5
        assert each.std().item() == pytest.approx(1, abs=1e-5)


def test_a_far_code_lies_at_its_distance_on_the_way() -> None:
    pivot, sample = torch.randn(2, 6, 8), torch.randn(2, 8)
    away = far_code(pivot, sample, 30.0) - pivot
    assert away.flatten(1).norm(dim=1).tolist() == pytest.approx([30, 30], rel=1e-4)
    towards = sample[:, None] - pivot
    cosine = torch.nn.functional.cosine_similarity(away.flatten(1), towards.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(2))
    torch.testing.assert_close(far_code(pivot, sample[:, None].expand(-1, 6, -1), 30.0) - pivot, away)
