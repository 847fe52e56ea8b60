"""The official SDIC pair: loading of published files, and that faces do not depend on their batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.sdic.official import DEAD, SDIC, load_sdic, official_resize, sdic_state


@pytest.fixture(scope="module")
def network() -> SDIC:
    torch.manual_seed(0)
    made = SDIC()
    for module in made.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return made.requires_grad_(False).eval()


def inputs(n: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A quarter of the real side: the networks are convolutions, and 256 px would take seconds."""
    rng = torch.Generator().manual_seed(1)
    pictures = torch.rand(2, n, 3, 64, 64, generator=rng) * 2 - 1
    return *pictures, torch.randn(n, 512, 16, 16, generator=rng), torch.randn(n, 18, 512, generator=rng)


def test_sizes_are_the_published_ones_without_what_is_dead(network: SDIC) -> None:
    assert sum(p.numel() for p in network.DIP.parameters()) == 1_713_154  # 1.89 M, 0.17 M of them dead
    assert sum(p.numel() for p in network.SAF.parameters()) == 7_449_268  # 21.6 M, 14.2 M of them dead
    assert not [name for name in network.state_dict() if name.startswith(DEAD)]


def test_no_parameter_is_idle() -> None:
    live = SDIC().train()
    source, base, feature, latents = inputs(2)
    compensated, codes, discrepancy = live(source, base, feature, latents)
    assert discrepancy.shape == source.shape
    assert compensated.shape == feature.shape
    assert codes.shape == latents.shape
    (discrepancy.square().mean() + compensated.square().mean() + codes.square().mean()).backward()
    assert not [name for name, p in live.named_parameters() if p.grad is None]


def test_a_face_does_not_depend_on_its_batch(network: SDIC) -> None:
    source, base, feature, latents = inputs()
    both = network(source, base, feature, latents)
    alone = network(source[1:], base[1:], feature[1:], latents[1:])
    assert both.discrepancy.shape == (2, 3, 64, 64)
    for whole, one in zip(both, alone, strict=True):
        assert torch.allclose(whole[1], one[0], atol=1e-4)


@pytest.mark.parametrize("names", [("DIP.", "SAF."), ("CGI.", "residue.")])
def test_published_files_load_by_old_and_new_names_with_their_dead_layers(
    network: SDIC, names: tuple[str, str]
) -> None:
    file = {name.replace("DIP.", names[0]).replace("SAF.", names[1]): t for name, t in network.state_dict().items()}
    file = {f"state_dict.{name}": t for name, t in file.items() if not name.endswith("num_batches_tracked")}
    for dead in DEAD:
        file["state_dict." + dead.replace("DIP.", names[0]).replace("SAF.", names[1]) + "weight"] = torch.ones(1)
    file |= {"state_dict.encoder.a": torch.ones(1), "latent_avg": torch.ones(18, 512)}
    loaded = load_sdic(file)
    assert set(sdic_state(file)) <= set(loaded.state_dict())
    assert torch.equal(loaded.SAF.att[1].weight, network.SAF.att[1].weight)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_codes_of_another_generator_have_other_rows() -> None:
    made = SDIC(rows=14)
    assert load_sdic(made.state_dict()).SAF.condition_shift3[2].bias.shape == (14,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"DIP.desc.bias": None}, "lacks 'DIP.desc.bias'"),
        ({"DIP.new.weight": torch.ones(1)}, "holds 'DIP.new.weight'"),
        ({"SAF.att.1.weight": torch.ones(3)}, r"'SAF.att.1.weight' of shape \(3,\)"),
    ],
)
def test_other_files_are_refused_in_one_sentence(network: SDIC, change: dict[str, Tensor | None], words: str) -> None:
    state = {**network.state_dict(), **change}
    with pytest.raises(WeightsError, match=words):
        load_sdic({name: tensor for name, tensor in state.items() if tensor is not None})


def test_the_official_resize_clamps_and_skips_pixels() -> None:
    image = torch.full((1, 3, 1024, 1024), 5.0)
    image[:, :, 1::4, 1::4] = image[:, :, 2::4, 2::4] = image[:, :, 1::4, 2::4] = image[:, :, 2::4, 1::4] = -5.0
    # Of each cell of 16 only the inner four count, whatever the others hold.
    assert torch.equal(official_resize(image), torch.full((1, 3, 256, 256), -1.0))
