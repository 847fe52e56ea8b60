"""Edits carry residuals along where nothing moved and let go of them where the feature departs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.edits import make_edit
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.compensate.residual import Prepared, ResidualCompensator, confidence
from pipelines.stages.edit.direction_set import Direction, DirectionEditor, DirectionSet
from pipelines.types import FaceBatch, Inversion
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


@pytest.fixture
def inversion() -> Inversion:
    rng = torch.Generator().manual_seed(4)
    return Inversion(torch.randn(2, 18, 16, generator=rng), {64: torch.randn(2, 8, 64, 64, generator=rng)})


def moved(inversion: Inversion, **strengths: float) -> Tensor:
    low = torch.zeros(18, 16)
    low[:5] = 1.0
    high = torch.zeros(18, 16)
    high[12:] = 1.0
    known = DirectionSet([Direction("low", low, "u", "t"), Direction("high", high, "u", "t")])
    return DirectionEditor(known).move(inversion, make_edit(list(strengths.items())))


def prepared(generator: MobileStyleGAN, inversion: Inversion) -> tuple[ResidualCompensator, Prepared]:
    made = ResidualCompensator(generator)
    return made, made.prepare(FaceBatch(torch.zeros(len(inversion), 3, 8, 8)), inversion)


def test_strength_zero_is_the_inversion_exactly(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made, ready = prepared(generator, inversion)
    base = made.render(ready, inversion.latents).image
    assert moved(inversion, low=0.0) is inversion.latents
    # And so it is in the limit, through the very path that edits take.
    assert torch.allclose(made.render(ready, moved(inversion, low=1e-7)).image, base, atol=1e-4)


def test_edit_above_the_residual_keeps_all_of_it(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made, ready = prepared(generator, inversion)
    latents = moved(inversion, high=1.0)
    inject = {64: generator.features(inversion.latents, (64,))[64] + inversion.residuals[64]}
    expected = generator.synthesize(latents, inject=inject).image
    assert torch.allclose(made.render(ready, latents).image, expected, atol=1e-5)


def test_edit_differs_and_the_second_face_does_not_matter(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made, ready = prepared(generator, inversion)
    both = made.render(ready, moved(inversion, low=0.5, high=-1.0)).image
    one, alone = prepared(generator, inversion[:1])
    assert torch.allclose(one.render(alone, moved(inversion[:1], low=0.5, high=-1.0)).image[0], both[0], atol=1e-4)
    assert not torch.allclose(both, made.render(ready, inversion.latents).image, atol=1e-2)


def test_features_come_with_the_picture(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made, ready = prepared(generator, inversion)
    for latents in (inversion.latents, moved(inversion, low=0.5)):
        found = made.render(ready, latents, (32, 64)).features
        for point, feature in generator.features(latents, (32, 64)).items():
            assert torch.allclose(found[point], feature, atol=1e-5)


def test_gate_is_one_where_nothing_moved_and_falls_with_the_departure() -> None:
    base = torch.randn(1, 8, 64, 64, generator=torch.Generator().manual_seed(1))
    moved = base.clone()
    moved[:, :, 20:30, 20:30] += 2.0
    gate = confidence(base, moved)
    assert gate.shape == (1, 1, 64, 64)
    assert torch.equal(gate[:, :, :10], torch.ones(1, 1, 10, 64))
    assert gate[0, 0, 25, 25] < 0.05
    further = base + 2 * (moved - base)
    assert (confidence(base, further) <= gate).all()
