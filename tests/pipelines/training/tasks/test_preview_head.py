"""Statistics of w and the bank of pairs that the preview head is fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.generators.w_statistics import w_statistics
from pipelines.training.tasks.preview_head import PairBank, fit_head, heads


def test_whitened_codes_have_unit_variance() -> None:
    torch.manual_seed(0)
    generator = MobileStyleGAN(channels=(8,) * 7)
    for layer in generator.mapping.layers:
        torch.nn.init.normal_(layer.weight, std=0.05)
    found = w_statistics(generator.map, 512, samples=20_000, chunk=10_000, seed=1)
    w = generator.map(torch.randn(4000, 512))
    assert torch.allclose(found["w_avg"], w.mean(0), atol=0.15)
    assert torch.allclose(found["w_std"], w.std(0), rtol=0.2)
    u = (w - found["w_avg"]) @ found["w_whiten"]
    assert 0.9 < float(u.square().mean()) < 1.1


@pytest.mark.parametrize("place", [0, 1])
def test_bank_resumes_and_the_head_learns(tmp_path: Path, place: int) -> None:
    bank = PairBank(tmp_path, 6)
    rng = np.random.default_rng(0)
    for features in bank.features.values():
        features[:, :, :48, :48] = rng.standard_normal(features[:, :, :48, :48].shape)
    bank.codes[:] = rng.standard_normal(bank.codes.shape)
    bank.images[:] = 0.5
    bank.drawn = 6
    generator = MobileStyleGAN(channels=(8, 8, 8, 512, 256, 8, 8))
    head = heads(generator)[place]
    generator.blocks[head.block].up.bias.fill_(1.0)
    generator.blocks[head.block].conv1.affine.bias.fill_(1.0)
    reports: list[dict[str, float]] = []
    first = fit_head(generator, head, bank, 2, reports.append, batch=1, held_out=2)
    second = fit_head(generator, head, bank, 30, reports.append, batch=1, held_out=2)
    assert second["psnr_mean"] > first["psnr_mean"]
    assert reports[-1]["step"] == 30
    again = PairBank(tmp_path, 6)
    assert again.drawn == 0  # nothing was counted as drawn, so a resumed run draws again
    assert all(np.array_equal(again.features[point][2], bank.features[point][2]) for point in bank.features)
