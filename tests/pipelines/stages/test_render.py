"""Codes, residuals and a face's own weights come together in one place."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.render import PREVIEW, plain_features, render, tuned
from pipelines.types import Inversion
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


@pytest.fixture
def plain() -> Inversion:
    return Inversion(torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(4)))


@torch.no_grad()
def test_codes_alone_and_with_a_residual(generator: MobileStyleGAN, plain: Inversion) -> None:
    assert torch.equal(render(generator, plain).image, generator.synthesize(plain.latents).image)
    small = render(generator, plain, collect=(64,), size=PREVIEW)
    assert small.image.shape[-1] == 256
    residual = torch.randn(2, 8, 64, 64, generator=torch.Generator().manual_seed(1))
    found = render(generator, Inversion(plain.latents, {64: residual}), collect=(32,))
    inject = {64: small.features[64] + residual}
    assert torch.allclose(found.image, generator.synthesize(plain.latents, inject=inject).image, atol=1e-5)
    assert set(found.features) == {32, 64}


@torch.no_grad()
def test_each_face_gets_its_own_weights_and_the_generator_is_restored_to_the_bit(
    generator: MobileStyleGAN, plain: Inversion
) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    name = [name for name, _ in generator.named_parameters() if "mix.bias" in name][-1]
    delta = torch.randn(2, *before[name].shape, generator=torch.Generator().manual_seed(2)) * 3
    inversion = Inversion(plain.latents, deltas={name: delta})
    both = render(generator, inversion, collect=(64,))
    for index in range(2):
        with tuned(generator, {name: delta[index]}):
            alone = generator.synthesize(plain.latents[index : index + 1]).image
            feature = generator.features(plain.latents[index : index + 1], (64,))[64]
        assert torch.allclose(both.image[index : index + 1], alone, atol=1e-5)
        assert torch.allclose(
            plain_features(generator, inversion, plain.latents, (64,))[64][index], feature[0], atol=1e-5
        )
    assert not torch.allclose(both.image, render(generator, plain).image, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_the_generator_is_restored_after_trouble_too(generator: MobileStyleGAN) -> None:
    name = next(iter(generator.state_dict()))
    before = generator.state_dict()[name].clone()
    with pytest.raises(RuntimeError), tuned(generator, {name: torch.ones_like(before)}):
        raise RuntimeError
    assert torch.equal(generator.state_dict()[name], before)
