"""The compensator: two streams that are one at strength 0, whatever the inversion brings along."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.gra.network import POINTS, GRANetwork, gra_for
from pipelines.stages.compensate.gra import GRACompensator, editing
from pipelines.types import Compensator, FaceBatch, Inversion
from tests.lively import lively_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return lively_generator()


def lively(generator: MobileStyleGAN) -> GRANetwork:
    """A network whose last layers are no zeros."""
    network = gra_for(generator).requires_grad_(False)
    rng = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.02)
    return network


@pytest.fixture
def photo() -> Tensor:
    return torch.rand(2, 3, 1024, 1024, generator=torch.Generator().manual_seed(7)) * 2 - 1


@pytest.fixture
def inversion() -> Inversion:
    return Inversion(torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(4)))


def test_strength_zero_is_the_reconstruction(generator: MobileStyleGAN, photo: Tensor, inversion: Inversion) -> None:
    made = GRACompensator(generator, lively(generator))
    assert isinstance(made, Compensator)
    prepared = made.prepare(FaceBatch(photo), inversion)
    base = made.render(prepared, inversion.latents).image
    plain = generator.synthesize(inversion.latents).image
    assert (base - plain).abs().mean() > 1e-2 * plain.abs().mean()
    assert torch.allclose(made.render(prepared, inversion.latents.clone()).image, base, atol=1e-5)
    inject, _ = editing(made.network, prepared.parts[0].sources, dense=True)
    assert torch.allclose(
        generator.synthesize(inversion.latents + prepared.change, inject=inject).image, base, atol=1e-2
    )


def test_without_residuals_it_is_the_encoder_bit_for_bit(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    made = GRACompensator(generator, gra_for(generator))
    prepared = made.prepare(FaceBatch(photo), inversion)
    moved = inversion.latents + 0.3
    for codes in (inversion.latents, moved):
        assert torch.equal(made.render(prepared, codes).image, generator.synthesize(codes).image)
    features = made.render(prepared, moved, (32,)).features
    assert torch.equal(features[32], generator.features(moved, (32,))[32])


def test_stages_correct_what_the_ones_below_left(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    network = lively(generator)
    sources = GRACompensator(generator, network).prepare(FaceBatch(photo), inversion).parts[0].sources
    network.active = POINTS[1:]
    without = GRACompensator(generator, network).prepare(FaceBatch(photo), inversion).parts[0].sources
    assert not without[16].residual.any()
    assert torch.equal(without[16].feature, sources[16].feature)
    assert not torch.allclose(without[32].feature, sources[32].feature)


def test_a_face_is_made_the_same_in_any_batch(generator: MobileStyleGAN, photo: Tensor, inversion: Inversion) -> None:
    made = GRACompensator(generator, lively(generator))
    moved = inversion.latents + 0.3
    both = made.render(made.prepare(FaceBatch(photo), inversion), moved).image
    alone = made.render(made.prepare(FaceBatch(photo[1:]), inversion[1:]), moved[1:]).image
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_what_refiners_found_is_carried_along(generator: MobileStyleGAN, photo: Tensor, inversion: Inversion) -> None:
    feature = generator.features(inversion.latents, (64,))[64]
    refined = Inversion(inversion.latents, {64: 0.5 * torch.ones_like(feature)})
    made = GRACompensator(generator, gra_for(generator))
    prepared = made.prepare(FaceBatch(photo), refined)
    wanted = generator.synthesize(inversion.latents, inject={64: feature + 0.5}).image
    assert torch.allclose(made.render(prepared, refined.latents).image, wanted, atol=1e-4)
    assert torch.allclose(made.render(prepared, refined.latents.clone()).image, wanted, atol=1e-4)
    with pytest.raises(UsageError, match="128"):
        made.prepare(FaceBatch(photo), Inversion(inversion.latents, {128: feature}))


def test_faces_with_weights_of_their_own(generator: MobileStyleGAN, photo: Tensor, inversion: Inversion) -> None:
    name = "blocks.2.conv1.affine.bias"
    delta = torch.zeros(2, *generator.state_dict()[name].shape)
    delta[1] = 0.5
    made = GRACompensator(generator, lively(generator))
    tuned = Inversion(inversion.latents, deltas={name: delta})
    moved = inversion.latents + 0.3
    with_deltas = made.render(made.prepare(FaceBatch(photo), tuned), moved).image
    without = made.render(made.prepare(FaceBatch(photo), inversion), moved).image
    apart = (with_deltas - without).abs().mean(dim=(1, 2, 3))
    assert apart[0] < 1e-4  # rounding may choose another of two equal matches here and there
    assert apart[1] > 1e-2
