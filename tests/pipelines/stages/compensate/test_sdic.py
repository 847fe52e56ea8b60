"""The compensator: prepared once, rendered per edit; strength 0 is the compensated inversion bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.sdic.lean import LeanSDIC, lean_for
from pipelines.models.sdic.official import Compensation
from pipelines.stages.compensate.residual import transport
from pipelines.stages.compensate.sdic import SDICCompensator
from pipelines.stages.entry import Parts, generators
from pipelines.stages.refine.sdic import SDICRefiner
from pipelines.types import Compensator, FaceBatch, Inversion, Point
from pipelines.weights.store import WeightStore
from tests.lively import lively_generator


class Scripted:
    """A network with an answer that can be told: F' = F + 0.5, W' = W + 0.25, and it keeps what it was shown."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, source: Tensor, base: Tensor, feature: Tensor, latents: Tensor) -> Compensation:
        self.calls.append((source, base, feature))
        return Compensation(feature + 0.5, latents + 0.25, source - base)


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return lively_generator()


@pytest.fixture
def photo() -> Tensor:
    return torch.rand(2, 3, 1024, 1024, generator=torch.Generator().manual_seed(7)) * 2 - 1


@pytest.fixture
def inversion() -> Inversion:
    return Inversion(torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(4)))


def low(latents: Tensor, strength: float) -> Tensor:
    moved = latents.clone()
    moved[:, 4:8] += strength
    return moved


def test_it_is_a_compensator_and_shows_the_network_photo_picture_and_feature(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    network = Scripted()
    made = SDICCompensator(generator, network)
    assert isinstance(made, Compensator)
    made.prepare(FaceBatch(photo), inversion)
    source, base, feature = network.calls[0]
    assert torch.equal(source, resize_area(photo, 256))
    assert torch.allclose(base, resize_area(generator.synthesize(inversion.latents).image, 256), atol=1e-5)
    assert torch.equal(feature, generator.features(inversion.latents, (64,))[64])


def test_the_inversion_injects_the_compensated_feature_and_codes(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    made = SDICCompensator(generator, Scripted())
    feature = generator.features(inversion.latents, (64,))[64]
    expected = generator.synthesize(inversion.latents + 0.25, inject={64: feature + 0.5}).image
    assert torch.allclose(
        made.render(made.prepare(FaceBatch(photo), inversion), inversion.latents).image, expected, atol=1e-3
    )


def test_strength_zero_is_the_inversion_exactly_by_every_way(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    torch.manual_seed(0)
    network = LeanSDIC(channels=8, dim=16)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.05)
    made = SDICCompensator(generator, network)
    prepared = made.prepare(FaceBatch(photo), inversion)
    picture = made.render(prepared, inversion.latents).image
    assert torch.equal(made.render(prepared, inversion.latents.clone()).image, picture)
    assert torch.equal(made.edited(prepared, inversion.latents).image, picture)
    assert not torch.allclose(picture, generator.synthesize(inversion.latents).image, atol=1e-2)


def test_an_untrained_network_leaves_inversion_and_edits_as_they_are(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    torch.manual_seed(0)
    made = SDICCompensator(generator, LeanSDIC(channels=8, dim=16))
    prepared = made.prepare(FaceBatch(photo), inversion)
    for latents in (inversion.latents, low(inversion.latents, 0.5)):
        assert torch.allclose(made.render(prepared, latents).image, generator.synthesize(latents).image, atol=1e-5)


def test_ten_edits_cost_one_preparation(generator: MobileStyleGAN, photo: Tensor, inversion: Inversion) -> None:
    network = Scripted()
    made = SDICCompensator(generator, network)
    prepared = made.prepare(FaceBatch(photo), inversion)
    pictures = [made.render(prepared, low(inversion.latents, strength)).image for strength in (0.1, 0.4)]
    assert len(network.calls) == 1
    assert not torch.allclose(pictures[0], pictures[1], atol=1e-3)


def test_an_edit_above_the_feature_keeps_the_whole_residual(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    made = SDICCompensator(generator, Scripted())
    latents = inversion.latents.clone()
    latents[:, 12:] += 1
    feature = generator.features(inversion.latents, (64,))[64]
    expected = generator.synthesize(latents + 0.25, inject={64: feature + 0.5}).image
    assert torch.allclose(made.render(made.prepare(FaceBatch(photo), inversion), latents).image, expected, atol=1e-3)


def test_residuals_of_the_inversion_are_kept_beneath(generator: MobileStyleGAN, photo: Tensor) -> None:
    rng = torch.Generator().manual_seed(9)
    fine, residual = torch.randn(2, 8, 128, 128, generator=rng), torch.randn(2, 8, 64, 64, generator=rng)
    inversion = Inversion(torch.randn(2, 18, 16, generator=rng), {64: residual, 128: fine})
    network = Scripted()
    made = SDICCompensator(generator, network)
    prepared = made.prepare(FaceBatch(photo), inversion)
    features = generator.features(inversion.latents, (64, 128))
    plain: dict[Point, Tensor] = {64: features[64] + residual, 128: features[128] + fine}
    shown = resize_area(generator.synthesize(inversion.latents, inject=plain).image, 256)
    assert torch.allclose(network.calls[0][1], shown, atol=1e-5)
    assert torch.allclose(network.calls[0][2], plain[64])
    picture = made.render(prepared, inversion.latents).image
    assert torch.equal(made.edited(prepared, inversion.latents).image, picture)
    expected = generator.synthesize(
        inversion.latents + 0.25, inject={64: features[64] + residual + 0.5, 128: features[128] + fine}
    ).image
    assert torch.allclose(picture, expected, atol=1e-3)


def test_the_official_arithmetic_subtracts_the_feature_of_other_codes(
    generator: MobileStyleGAN, photo: Tensor, inversion: Inversion
) -> None:
    made = SDICCompensator(generator, Scripted(), official=True)
    prepared = made.prepare(FaceBatch(photo), inversion)
    codes = low(inversion.latents, 0.5) + 0.25
    feature = generator.features(codes, (64,))[64] + 0.5
    expected = generator.synthesize(codes, inject={64: feature}).image
    assert torch.allclose(made.render(prepared, low(inversion.latents, 0.5)).image, expected, atol=1e-3)
    # An edit of degree 0 is not the inversion: the published code's flaw, kept for parity only.
    assert not torch.allclose(
        made.edited(prepared, inversion.latents).image, made.render(prepared, inversion.latents).image, atol=1e-2
    )
    assert torch.equal(made.prepare(FaceBatch(photo), inversion).discrepancy, prepared.discrepancy)


def test_carrying_keeps_a_residual_exactly_where_nothing_moved() -> None:
    rng = torch.Generator().manual_seed(1)
    residual, base = torch.randn(2, 1, 8, 64, 64, generator=rng)
    assert torch.equal(transport(residual, base, base.clone()), residual)


@pytest.mark.weights
@torch.no_grad()
def test_the_shipped_generator_takes_a_lean_network(store: WeightStore) -> None:
    generator = generators.get("mobile-ffhq").build(Parts(store, torch.device("cpu")))
    network = lean_for(generator)
    rng = torch.Generator().manual_seed(2)
    latents = generator.map(torch.randn(1, 512, generator=rng)).unsqueeze(1).repeat(1, 18, 1)
    photo = torch.rand(1, 3, 1024, 1024, generator=rng) * 2 - 1
    feature = network.evened(generator.features(latents, (64,))[64])
    assert 0.5 < feature.std() < 1.5
    untrained = SDICCompensator(generator, network)
    plain = generator.synthesize(latents).image
    assert torch.allclose(
        untrained.render(untrained.prepare(FaceBatch(photo), Inversion(latents)), latents).image, plain, atol=1e-4
    )
    network.feature.content.bias.normal_(0, 0.3, generator=rng)  # type: ignore[union-attr]
    prepared = untrained.prepare(FaceBatch(photo), Inversion(latents))
    picture = untrained.render(prepared, latents).image
    assert torch.equal(untrained.edited(prepared, latents).image, picture)
    assert not torch.allclose(picture, plain, atol=0.05)


def test_as_a_refiner_it_gives_the_same_picture(generator: MobileStyleGAN, photo: Tensor) -> None:
    network = lean_for(generator, channels=8)
    assert network.latent is not None
    assert network.feature is not None
    for last in (network.feature.content.weight, network.latent.offset):
        torch.nn.init.normal_(last, std=0.05)
    start = Inversion(torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(4)), scores={"a": torch.ones(2)})
    found = SDICRefiner(generator, network).refine(FaceBatch(photo), start)
    assert torch.equal(found.latents[:, :8], start.latents[:, :8])
    assert not torch.equal(found.latents[:, 8:], start.latents[:, 8:])
    assert torch.equal(found.scores["a"], start.scores["a"])
    plain = generator.features(found.latents, (64,))[64]
    picture = generator.synthesize(found.latents, inject={64: plain + found.residuals[64]}).image
    made = SDICCompensator(generator, network)
    prepared = made.prepare(FaceBatch(photo), start)
    assert torch.allclose(picture, made.render(prepared, start.latents).image, atol=1e-3)  # pictures reach 300
