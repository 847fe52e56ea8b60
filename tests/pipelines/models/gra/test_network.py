"""The network: nothing at first, begins where SDIC ends, and comes back from its file."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.gra.network import POINTS, gra_for, load_gra, take_sdic
from pipelines.models.sdic.lean import lean_for
from tests.lively import lively_generator


def pictures() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 256, 256, generator=rng) * 2 - 1, torch.rand(1, 3, 256, 256, generator=rng) * 2 - 1


@torch.no_grad()
def test_a_new_network_changes_nothing() -> None:
    generator = lively_generator()
    network = gra_for(generator)
    pyramid = network.look(*pictures())
    for point, feature in generator.features(generator.w_avg[None], POINTS).items():
        assert pyramid[point].shape[2:] == feature.shape[2:]
        assert not network.lacking(point, pyramid, network.evening(point)(feature)).any()
    assert not network.change(pyramid, generator.w_avg.expand(1, 18, -1)).any()


@torch.no_grad()
def test_it_begins_where_sdic_ends() -> None:
    generator = lively_generator()
    lean = lean_for(generator, channels=8)
    for parameter in lean.parameters():
        parameter.add_(0.01)
    network = gra_for(generator)
    take_sdic(network, lean.state_dict())
    codes, feature = generator.w_avg.expand(1, 18, -1) + 0.1, generator.features(generator.w_avg[None], (64,))[64]
    source, base = pictures()
    found = lean(source, base, feature, codes)
    pyramid, evening = network.look(source, base), network.evening(64)
    assert torch.allclose(codes + network.change(pyramid, codes), found.latents, atol=1e-5)
    mine = feature + evening.back(network.lacking(64, pyramid, evening(feature)))
    assert torch.allclose(mine, found.feature, atol=1e-4)


def test_weights_of_another_kind_are_refused() -> None:
    generator = lively_generator()
    without = lean_for(generator, channels=8, latent=False).state_dict()
    with pytest.raises(WeightsError, match="all its parts"):
        take_sdic(gra_for(generator), without)
    with pytest.raises(WeightsError, match="no GRA weights"):
        load_gra(without)


def test_the_file_brings_it_back() -> None:
    network = gra_for(lively_generator(), seed=3)
    again = load_gra({name: value.half() for name, value in network.state_dict().items()})
    for name, value in network.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, atol=2e-3, rtol=1e-3), name
