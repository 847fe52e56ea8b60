"""Edits carry residuals along where nothing moved and let go of them where the feature departs."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.compensate.residual import Editor, residual_gate
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.types import Inversion
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


@pytest.fixture
def inversion() -> Inversion:
    rng = torch.Generator().manual_seed(4)
    return Inversion(torch.randn(2, 18, 16, generator=rng), {64: torch.randn(2, 8, 64, 64, generator=rng)})


def editor(generator: MobileStyleGAN) -> Editor:
    low = torch.zeros(18, 16)
    low[:5] = 1.0
    high = torch.zeros(18, 16)
    high[12:] = 1.0
    return Editor(generator, DirectionSet([Direction("low", low, "u", "t"), Direction("high", high, "u", "t")]))


def test_strength_zero_is_the_inversion_exactly(generator: MobileStyleGAN, inversion: Inversion) -> None:
    base = editor(generator).base(inversion)
    assert torch.equal(editor(generator).edit(inversion, base, [("low", 0.0)]), base.image)
    # And so it is in the limit, through the very path that edits take.
    nearly = editor(generator).edit(inversion, base, [("low", 1e-7)])
    assert torch.allclose(nearly, base.image, atol=1e-4)


def test_edit_above_the_residual_keeps_all_of_it(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made = editor(generator)
    base = made.base(inversion)
    latents = made.directions.apply(inversion.latents, [("high", 1.0)])
    inject = {64: base.features[64] + inversion.residuals[64]}
    expected = generator.synthesize(latents, inject=inject).image
    assert torch.allclose(made.edit(inversion, base, [("high", 1.0)]), expected, atol=1e-5)


def test_edit_differs_and_the_second_face_does_not_matter(generator: MobileStyleGAN, inversion: Inversion) -> None:
    made = editor(generator)
    both = made.edit(inversion, made.base(inversion), [("low", 0.5), ("high", -1.0)])
    one = Inversion(inversion.latents[:1], {64: inversion.residuals[64][:1]})
    alone = made.edit(one, made.base(one), [("low", 0.5), ("high", -1.0)])
    assert torch.allclose(alone[0], both[0], atol=1e-4)
    assert not torch.allclose(alone, made.base(one).image, atol=1e-2)


def test_gate_is_one_where_nothing_moved_and_falls_with_the_departure() -> None:
    base = torch.randn(1, 8, 64, 64, generator=torch.Generator().manual_seed(1))
    moved = base.clone()
    moved[:, :, 20:30, 20:30] += 2.0
    gate = residual_gate(base, moved)
    assert gate.shape == (1, 1, 64, 64)
    assert torch.equal(gate[:, :, :10], torch.ones(1, 1, 10, 64))
    assert gate[0, 0, 25, 25] < 0.05
    further = base + 2 * (moved - base)
    assert (residual_gate(base, further) <= gate).all()
