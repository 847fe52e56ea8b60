"""Pivotal tuning on tiny generators of both kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.perceptual.likeness import Weights
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.stages.refine.orthogonal import OrthogonalSteps
from pipelines.stages.refine.projection import far_code
from pipelines.stages.refine.pti import PTIRefiner, PTISettings
from pipelines.stages.refine.tuning import Tuning, fitting_rank, tuned_layers
from pipelines.stages.render import LEFT, RIGHT, render
from pipelines.types import FaceBatch, Inversion
from tests.tiny import TinyGenerator, tiny_generator, tiny_likeness

FAST = PTISettings(steps=6, finish=1, refresh=3, local_every=3, weights=Weights(1.0, 5.0, 0.0, 256))


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(64, dict.fromkeys((4, 8, 16, 32, 64), 8), 16, 2)


@pytest.fixture(scope="module")
def faces(generator: StyleGAN2) -> FaceBatch:
    return FaceBatch(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) - 0.5)


@pytest.fixture(scope="module")
def start(generator: StyleGAN2) -> Inversion:
    return Inversion(torch.randn(2, generator.num_ws, 16, generator=torch.Generator().manual_seed(4)))


def error(generator: MobileStyleGAN | StyleGAN2, inversion: Inversion, images: Tensor) -> Tensor:
    return (render(generator, inversion).image - images).square().mean(dim=(1, 2, 3))


def test_tuning_comes_closer_and_leaves_the_generator_as_it_was(
    generator: StyleGAN2, faces: FaceBatch, start: Inversion
) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    found = PTIRefiner(generator, tiny_likeness(), FAST).refine(faces, start)
    assert torch.equal(found.latents, start.latents)
    assert set(found.deltas) == {f"convs.{i}.conv.weight" for i in range(8)}
    assert (error(generator, found, faces.images) < error(generator, start, faces.images)).all()
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


def test_a_face_does_not_depend_on_its_batch_and_runs_repeat(
    generator: StyleGAN2, faces: FaceBatch, start: Inversion
) -> None:
    both = PTIRefiner(generator, tiny_likeness(), FAST, seed=5).refine(faces, start)
    alone = PTIRefiner(generator, tiny_likeness(), FAST, seed=5).refine(faces[1:], start[1:])
    other = PTIRefiner(generator, tiny_likeness(), FAST, seed=6).refine(faces[1:], start[1:])
    assert all(torch.equal(alone.deltas[name][0], delta[1]) for name, delta in both.deltas.items())
    assert any(not torch.equal(other.deltas[name], delta) for name, delta in alone.deltas.items())


def test_a_tuning_that_was_cut_off_is_done_anew_to_the_same_numbers(
    generator: StyleGAN2, faces: FaceBatch, start: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run leaves no half tuning behind: its item is not in the manifest, and begins again."""
    refiner = PTIRefiner(generator, tiny_likeness(), FAST)
    whole = refiner.refine(faces[:1], start[:1])
    seen: list[float] = []

    def cut_off(self: OrthogonalSteps, size: float) -> None:
        seen.append(size)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(OrthogonalSteps, "step", cut_off)
        with pytest.raises(KeyboardInterrupt):
            refiner.refine(faces[:1], start[:1])
    again = refiner.refine(faces[:1], start[:1])
    assert all(torch.equal(again.deltas[name], delta) for name, delta in whole.deltas.items())


def test_what_is_stored_makes_the_same_picture(generator: StyleGAN2, faces: FaceBatch, start: Inversion) -> None:
    settings = replace(FAST, numbers=200)  # products
    found = PTIRefiner(generator, tiny_likeness(), settings).refine(faces[:1], start[:1])
    assert {name.removeprefix("convs.0.conv.weight") for name in found.deltas} >= {LEFT, RIGHT}
    read, _ = load_inversion(save_inversion(found, 0, {}))
    assert torch.equal(render(generator, read).image, render(generator, found.stored()).image)


def test_locality_holds_far_codes(generator: StyleGAN2, faces: FaceBatch, start: Inversion) -> None:
    far = far_code(start.latents[:1], torch.randn(1, 16, generator=torch.Generator().manual_seed(9)), 8.0)
    plain = generator.synthesize(far).image

    def changed(local: float) -> float:
        settings = replace(FAST, steps=8, finish=0, local=local, local_every=1, distance=8.0)
        found = PTIRefiner(generator, tiny_likeness(), settings).refine(faces[:1], start[:1])
        return float((render(generator, found, far).image - plain).square().mean())

    assert changed(3.0) < 0.8 * changed(0.0)


def test_the_mobile_generator_is_tuned_through_its_cheap_heads() -> None:
    generator = tiny_generator()
    codes = torch.randn(1, 16, generator=torch.Generator().manual_seed(2))
    target = tiny_generator(seed=1).synthesize(codes).image.clamp(-1, 1)
    start = Inversion(torch.randn(1, 18, 16, generator=torch.Generator().manual_seed(2)))
    settings = replace(FAST, steps=4, finish=3, local=0.0)
    found = PTIRefiner(generator, tiny_likeness(), settings).refine(FaceBatch(target), start)
    assert len(found.deltas) == 7 + 3 + 14
    assert error(generator, found, target) < error(generator, start, target)


def test_a_residual_before_it_stays(generator: StyleGAN2, faces: FaceBatch, start: Inversion) -> None:
    residual = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    known = replace(start, residuals={32: residual})
    found = PTIRefiner(generator, tiny_likeness(), FAST).refine(faces, known)
    assert torch.equal(found.residuals[32], residual)
    assert (error(generator, found, faces.images) < error(generator, known, faces.images)).all()


def test_the_rank_fits_what_may_be_stored() -> None:
    layers = {"a": torch.zeros(64, 64, 3, 3), "b": torch.zeros(1, 64, 64, 3, 3), "c": torch.zeros(8, 8, 1, 1)}
    rank = fitting_rank(layers, 20_000)
    stored = Tuning(TinyGenerator((8,) * 7, 16), layers, rank, 0).deltas()
    assert 17_000 < sum(part.numel() for part in stored.values()) <= 20_000
    assert fitting_rank(layers, 10**6) >= 57  # whole
    assert set(tuned_layers(TinyGenerator((8,) * 7, 16), ("conv0.mix.*",))) == {"conv0.mix.weight", "conv0.mix.bias"}
