"""What holds optimised codes, where they may lie, and when they stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.models.generators.style_space import StyleCentre, aligned_distance, nscd, style_centre
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.perceptual.likeness import Weights
from pipelines.stages.embed.optimize import OptimizeEmbedder, OptimizeSettings
from pipelines.stages.embed.plateau import Plateau
from pipelines.stages.embed.regularize import Aligned, Delta, Regularizer, unregularized
from pipelines.types import FaceBatch, Inversion
from tests.tiny import tiny_likeness

FAST = OptimizeSettings(steps=6, rows_from=1, lr=0.3, rows_lr=0.2, weights=Weights(1.0, 1.0, 0.0, 128))


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(64, dict.fromkeys((4, 8, 16, 32, 64), 8), 16, 2)


@pytest.fixture(scope="module")
def centre(generator: StyleGAN2) -> StyleCentre:
    return style_centre(generator, 1000, 0)


@pytest.fixture(scope="module")
def faces() -> FaceBatch:
    return FaceBatch(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) - 0.5)


def test_aligned_is_lsaps_loss_of_each_face(generator: StyleGAN2, centre: StyleCentre) -> None:
    codes = torch.randn(3, 10, 16, generator=torch.Generator().manual_seed(1))
    found = Aligned(centre, 0.5)(codes[:, 0], codes, codes)
    assert found.shape == (3,)
    assert torch.allclose(found.mean(), 0.5 * aligned_distance(codes, centre, 9), atol=1e-6)


def test_delta_by_hand() -> None:
    shared, offsets = torch.full((1, 4), 2.0), torch.full((1, 3, 4), 0.5)
    assert torch.allclose(Delta(0.1, 2.0)(shared, offsets, offsets), torch.tensor([0.1 * 4 + 2.0 * 0.25]))
    assert torch.equal(unregularized(shared, offsets, offsets), torch.zeros(1))


def test_codes_stay_nearer_the_generators_own(generator: StyleGAN2, centre: StyleCentre, faces: FaceBatch) -> None:
    def distance(regularizer: Regularizer) -> Tensor:
        found = OptimizeEmbedder(generator, tiny_likeness(), FAST, regularizer).embed(faces[:1])
        return nscd(found.latents, centre)

    assert (distance(Aligned(centre, 5.0)) < 0.8 * distance(unregularized)).all()


def test_w_has_one_code_for_all_rows(generator: StyleGAN2, faces: FaceBatch) -> None:
    in_w = OptimizeEmbedder(generator, tiny_likeness(), replace(FAST, steps=3, rows_from=3, alone=True))
    start = Inversion(torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(4)))
    for found in (in_w.embed(faces[:1]), in_w.refine(faces[:1], start[:1])):
        assert torch.equal(found.latents, found.latents[:, :1].expand(-1, 10, -1))
    rows = OptimizeEmbedder(generator, tiny_likeness(), replace(FAST, steps=2)).embed(faces[:1]).latents
    assert not torch.allclose(rows, rows[:, :1].expand(-1, 10, -1))


def test_the_rule_of_the_early_stop() -> None:
    """A window that brings less than a tenth ends it: by hand."""
    plateau = Plateau(window=2, least=0.1)
    seen = [plateau.watch(torch.tensor(pair)) for pair in ((1.0, 1.0), (1.0, 1.0), (0.8, 0.95), (0.8, 0.95))]
    assert [each is None for each in seen] == [True, False, True, False]
    assert seen[1] is not None
    assert seen[3] is not None
    assert seen[1].tolist() == [False, False]
    assert seen[3].tolist() == [False, True]


def test_a_face_that_stops_keeps_its_code_whatever_the_others_do(
    generator: StyleGAN2, faces: FaceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.stages.embed.optimize.WINDOW", 1)
    monkeypatch.setattr("pipelines.stages.microbatch.microbatch_width", lambda device: 2)
    answers = iter(([False, True], [True, False]))
    monkeypatch.setattr(Plateau, "watch", lambda self, losses: torch.tensor(next(answers)))
    settings = replace(FAST, least=0.5)
    both = OptimizeEmbedder(generator, tiny_likeness(), settings).embed(faces)  # one and two of six steps
    monkeypatch.setattr(Plateau, "watch", lambda self, losses: torch.tensor([True, True]))
    first = OptimizeEmbedder(generator, tiny_likeness(), settings).embed(faces)  # one step each
    assert torch.equal(both.latents[1], first.latents[1])
    assert torch.equal(both.scores["embed_loss"][1], first.scores["embed_loss"][1])
    assert not torch.equal(both.latents[0], first.latents[0])
