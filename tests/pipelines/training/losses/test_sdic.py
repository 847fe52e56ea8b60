"""One step of SDIC training: the terms by hand, gradients where they belong, and that a few steps help."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.perceptual.likeness import Weights
from pipelines.models.sdic.lean import LeanSDIC, lean_for
from pipelines.stages.compensate.sdic import base_view
from pipelines.training.losses.sdic import (
    EditTarget,
    MoveTarget,
    SDICBatch,
    SDICWeights,
    compensation_loss,
    move_loss,
    picture,
    sdic_step,
    stay_loss,
)
from pipelines.types import Injection, Inversion, Point, Synthesis
from tests.lively import LivelyGenerator, lively_generator
from tests.tiny import tiny_likeness

IMAGE = Weights(perceptual=0.8, pixel=1.0)


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return lively_generator()


@pytest.fixture
def network(generator: MobileStyleGAN) -> LeanSDIC:
    return lean_for(generator, channels=8)


def codes(n: int = 2, seed: int = 4) -> Tensor:
    return torch.randn(n, 18, 16, generator=torch.Generator().manual_seed(seed))


def photo(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 256, 256, generator=torch.Generator().manual_seed(7)) * 2 - 1


def test_the_published_terms_by_hand() -> None:
    feature, plain = torch.full((2, 4, 8, 8), 3.0), torch.full((2, 4, 8, 8), 1.0)
    latents, w = torch.full((2, 18, 16), 0.5), torch.zeros(2, 18, 16)
    assert float(compensation_loss(feature, plain, latents, w)) == pytest.approx(0.5 * (0.8 * 4 + 0.2 * 0.25))


def test_an_untrained_step_measures_the_inversion(generator: MobileStyleGAN, network: LeanSDIC) -> None:
    losses = sdic_step(network, generator, tiny_likeness(), SDICBatch(photo(), codes()), SDICWeights(image=IMAGE))
    inverted = resize_area(generator.synthesize(codes()).image, 256)
    assert losses["pixel"].item() == pytest.approx(float((inverted - photo()).square().mean()), rel=1e-4)
    assert losses["compensation"].item() == 0
    assert set(losses) == {"pixel", "perceptual", "compensation", "total"}
    parts = sum(value.item() for name, value in losses.items() if name != "total")
    assert losses["total"].item() == pytest.approx(parts, rel=1e-6)


def test_a_kept_base_picture_saves_its_rendering_and_changes_nothing(
    generator: MobileStyleGAN, network: LeanSDIC
) -> None:
    network.feature.content.weight.data.normal_(0, 0.01)  # type: ignore[union-attr]
    rendered = sdic_step(network, generator, tiny_likeness(), SDICBatch(photo(), codes()), SDICWeights(image=IMAGE))
    base, _ = base_view(generator, Inversion(codes()))
    kept = SDICBatch(photo(), codes(), base=base)
    again = sdic_step(network, generator, tiny_likeness(), kept, SDICWeights(image=IMAGE))
    assert again["total"].item() == pytest.approx(rendered["total"].item(), rel=1e-5)
    other = SDICBatch(photo(), codes(), base=-base)
    wrong = sdic_step(network, generator, tiny_likeness(), other, SDICWeights(image=IMAGE))
    assert wrong["total"].item() != pytest.approx(rendered["total"].item(), rel=1e-5)


def test_gradients_reach_the_network_and_nothing_else(generator: MobileStyleGAN, network: LeanSDIC) -> None:
    given = codes().requires_grad_()
    network.feature.content.weight.data.normal_(0, 0.01)  # at zero it would hide the map from the losses
    edit = EditTarget(codes(seed=5), photo())
    weights = SDICWeights(image=IMAGE, discrepancy=0.5)
    losses = sdic_step(network, generator, tiny_likeness(), SDICBatch(photo(), given, edit=edit), weights)
    assert {"edit_pixel", "edit_perceptual", "discrepancy"} < set(losses)
    losses["total"].backward()
    assert given.grad is None
    assert all(p.grad is None for p in generator.parameters())
    assert network.feature.content.weight.grad.any()  # type: ignore[union-attr]
    assert network.latent.offset.grad.any()  # type: ignore[union-attr]
    assert network.map.head.weight.grad.any()  # type: ignore[union-attr]


def test_edits_have_a_target_of_their_own(generator: MobileStyleGAN, network: LeanSDIC) -> None:
    edited = codes(seed=5)
    target = resize_area(generator.synthesize(edited).image, 256)
    weights = SDICWeights(image=IMAGE, edit=2.0)
    exact, wrong = (
        sdic_step(
            network,
            generator,
            tiny_likeness(),
            SDICBatch(photo(), codes(), edit=EditTarget(edited, image)),
            weights,
        )
        for image in (target, -target)
    )
    assert exact["edit_pixel"].item() < 1e-8
    assert wrong["edit_pixel"].item() == pytest.approx(2 * float((2 * target).square().mean()), rel=1e-3)
    assert torch.equal(exact["pixel"], wrong["pixel"])


def test_views_of_the_picture_agree_where_the_head_is_exact(generator: MobileStyleGAN) -> None:
    w = codes()
    feature = generator.features(w, (64,))[64] + 0.3
    full = picture(generator, w, feature, "full")
    assert torch.allclose(picture(generator, w, feature, "head"), full, atol=1e-5)
    assert torch.allclose(picture(generator, w, feature, "corrected"), full, atol=1e-5)


def test_the_corrected_view_takes_the_heads_error_out(generator: MobileStyleGAN) -> None:
    class Dim(LivelyGenerator):
        """Its head shows everything half as bright."""

        def preview(
            self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
        ) -> Synthesis:
            made = super().preview(w, inject, collect)
            return Synthesis(0.5 * made.image, made.features)

    blunt = Dim(channels=(8,) * 7, dim=16)
    blunt.load_state_dict(generator.state_dict())
    w = codes()
    feature = blunt.features(w, (64,))[64]
    full = picture(blunt, w, feature, "full")
    assert not torch.allclose(picture(blunt, w, feature, "head"), full, atol=1e-2)
    assert torch.allclose(picture(blunt, w, feature, "corrected"), full, atol=1e-5)


def test_a_few_steps_bring_the_picture_closer(generator: MobileStyleGAN) -> None:
    network = lean_for(generator, channels=8)
    source = resize_area(generator.synthesize(codes(1, seed=8)).image, 256)
    edited = codes(1, seed=5)
    batch = SDICBatch(source, codes(1), edit=EditTarget(edited, source))
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)
    history = []
    for _ in range(5):
        losses = sdic_step(network, generator, tiny_likeness(), batch, SDICWeights(image=IMAGE))
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        history.append(float(losses["total"].detach()))
    assert history[-1] < 0.5 * history[0]


def test_an_edit_that_moves_like_the_encoders_costs_nothing(generator: MobileStyleGAN) -> None:
    inside = torch.zeros(1, 1, 64, 64)
    inside[:, :, 16:48, 16:48] = 1
    move = MoveTarget(codes(seed=5), inside)
    base, there = generator.preview(codes()).image, generator.preview(move.codes).image
    made = photo()
    same = move_loss(generator, base, made, made + (there - base), move)
    assert same.item() == pytest.approx(0, abs=1e-5)
    still = move_loss(generator, base, made, made, move)
    by_hand = (resize_area(there, 64) - resize_area(base, 64)).abs()[:, :, 16:48, 16:48].mean()
    assert still.item() == pytest.approx(float(by_hand), rel=1e-4)
    outside = torch.zeros_like(made)
    outside[:, :, :32] = 1.0  # 32 of 256 px: rows 0 to 7 of 64
    assert move_loss(generator, base, made, made + (there - base) + outside, move).item() == pytest.approx(0, abs=1e-5)


def test_outside_the_face_an_edit_is_held_to_the_photo() -> None:
    inside = torch.zeros(1, 1, 64, 64)
    inside[:, :, 16:48, 16:48] = 1
    move = MoveTarget(codes(), inside)
    edited = photo()
    edited[:, :, 64:192, 64:192] += 1.0
    assert stay_loss(photo(), edited, move).item() == pytest.approx(0, abs=1e-6)
    edited[:, :, :32] += 0.5  # an eighth of the picture, a sixth of what lies outside
    assert stay_loss(photo(), edited, move).item() == pytest.approx(0.5 / 6, rel=1e-4)
