"""The lean SDIC: budget, exact identity when untrained, independence of the batch, ablations, calibration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.sdic.lean import LeanSDIC, lean_for, load_lean
from tests.lively import lively_generator

SWITCHES: list[dict[str, bool | str]] = [
    {},
    {"discrepancy": "raw"},
    {"latent": False},
    {"feature": False},
]


def tiny(**switches: bool | str) -> LeanSDIC:
    torch.manual_seed(0)
    return LeanSDIC(channels=8, dim=16, **switches)  # type: ignore[arg-type]


def stirred(network: LeanSDIC, seed: int = 3) -> LeanSDIC:
    """Last layers that are no zeros: as after some training."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=rng))
    return network


def inputs(n: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    source, base = torch.rand(2, n, 3, 256, 256, generator=rng) * 2 - 1
    return source, base, torch.randn(n, 8, 64, 64, generator=rng), torch.randn(n, 18, 16, generator=rng)


def test_the_whole_fits_the_budget() -> None:
    network = LeanSDIC()
    assert sum(p.numel() for p in network.parameters()) <= 7_000_000
    assert sum(t.numel() for t in network.state_dict().values()) * 2 <= 16e6  # bytes in half precision


@pytest.mark.parametrize("switches", SWITCHES)
def test_untrained_it_gives_exactly_the_inversion(switches: dict[str, bool | str]) -> None:
    source, base, feature, latents = inputs()
    found = tiny(**switches)(source, base, feature, latents)
    assert torch.equal(found.feature, feature)
    assert torch.equal(found.latents, latents)
    assert torch.allclose(found.discrepancy, source - base, atol=1e-6)


def test_ablations_switch_off_what_they_name() -> None:
    source, base, feature, latents = inputs()
    without = stirred(tiny(latent=False))(source, base, feature, latents)
    assert torch.equal(without.latents, latents)
    assert not torch.equal(without.feature, feature)
    without = stirred(tiny(feature=False))(source, base, feature, latents)
    assert torch.equal(without.feature, feature)
    assert not torch.equal(without.latents, latents)
    raw = stirred(tiny(discrepancy="raw"))
    assert torch.equal(raw(source, base, feature, latents).discrepancy, source - base)
    assert not [name for name in raw.state_dict() if name.startswith("map.")]


def test_a_face_does_not_depend_on_its_batch_even_in_training_mode() -> None:
    source, base, feature, latents = inputs()
    network = stirred(tiny()).train()
    both = network(source, base, feature, latents)
    alone = network(source[1:], base[1:], feature[1:], latents[1:])
    for whole, one in zip(both, alone, strict=True):
        assert torch.allclose(whole[1], one[0], atol=1e-4)


def test_codes_change_above_the_feature_only_and_by_no_more_than_the_bound() -> None:
    network = stirred(tiny())
    network.latent.offset.data.mul_(1e4)  # type: ignore[union-attr]
    source, base, feature, latents = inputs()
    change = network(source, base, feature, latents).latents - latents
    assert not change[:, :8].any()
    assert 1.0 < change.abs().max() <= 1.5 + 1e-5


@pytest.mark.parametrize("switches", SWITCHES[:4])
def test_every_parameter_learns(switches: dict[str, bool | str]) -> None:
    network = stirred(tiny(**switches))
    found = network(*inputs())
    (found.feature.square().mean() + found.latents.square().mean()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # The map's hints feed whatever there is; no layer may be left over in an ablation.
    assert idle == []


def test_calibration_takes_the_generators_statistics_and_a_seed_decides_the_weights() -> None:
    generator = lively_generator()
    network = lean_for(generator, channels=8, seed=5)
    again = lean_for(generator, channels=8, seed=5)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    w = generator.map(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)))
    feature = torch.cat([generator.features(part, (64,))[64] for part in w.split(16)])
    assert torch.allclose(network.feature_mean, feature.mean(dim=(0, 2, 3)), rtol=0.1, atol=0.02)
    even = network.evened(feature)
    spread = even.std(dim=(0, 2, 3))
    assert spread.max() < 1.1
    assert even.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert torch.equal(network.w_avg, generator.w_avg)


@pytest.mark.parametrize("switches", SWITCHES)
def test_a_file_in_half_precision_comes_back_with_its_switches(switches: dict[str, bool | str]) -> None:
    network = stirred(tiny(**switches))
    loaded = load_lean({name: tensor.half() for name, tensor in network.state_dict().items()})
    assert set(loaded.state_dict()) == set(network.state_dict())
    before, after = network(*inputs(1)), loaded(*inputs(1))
    assert (before.feature - after.feature).std() < 0.005 * before.feature.std()
    assert (before.latents - after.latents).std() < 0.005 * before.latents.std()
    assert not any(p.requires_grad for p in loaded.parameters())


def test_other_files_are_refused_in_one_sentence() -> None:
    state = tiny().state_dict()
    with pytest.raises(WeightsError, match="no SDIC weights for a generator of 18 rows"):
        load_lean({name: tensor for name, tensor in state.items() if name != "encode.fine.bias"})
    with pytest.raises(WeightsError, match="feature_std"):
        load_lean({"a": torch.ones(1)})
