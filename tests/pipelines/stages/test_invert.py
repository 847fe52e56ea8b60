"""`optimize` and `feature` on a tiny generator: they get closer, whatever the batch, and survive a face without landmarks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.perceptual.likeness import Weights
from pipelines.stages.embed.optimize import OptimizeEmbedder, OptimizeSettings, ramp
from pipelines.stages.microbatch import in_microbatches
from pipelines.stages.refine.feature import FeatureRefiner, FeatureSettings
from pipelines.stages.refine.tiles import FULLS, HALVES, POINT, Tile, cut, render_tile
from pipelines.types import FaceBatch, Inversion
from tests.tiny import TinyGenerator, tiny_generator, tiny_likeness

FAST = OptimizeSettings(steps=12, rows_from=6, weights=Weights(1.0, 1.0, 0.1, 128))
FINE = FeatureSettings(steps=8, refresh=2, finish=3, lr=1.0, pull=0.0, rows_lr=0.1, weights=Weights(1.0, 5.0, 0.1, 128))


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


@pytest.fixture(scope="module")
def photos(generator: MobileStyleGAN) -> Tensor:
    other = tiny_generator(seed=1)
    return other.synthesize(torch.randn(3, 16, generator=torch.Generator().manual_seed(2))).image.clamp(-1, 1)


@pytest.fixture(scope="module")
def landmarks() -> Tensor:
    points = torch.rand(3, 68, 2, generator=torch.Generator().manual_seed(3))
    points[1] = math.nan  # no face was found in the second one
    return points


def error(generator: MobileStyleGAN, inversion: Inversion, photos: Tensor) -> Tensor:
    inject = {p: generator.features(inversion.latents, (p,))[p] + r for p, r in inversion.residuals.items()}
    made = generator.synthesize(inversion.latents, inject=inject).image
    return (resize_area(made, 256) - resize_area(photos, 256)).square().mean(dim=(1, 2, 3))


def test_each_step_of_the_chain_comes_closer(generator: MobileStyleGAN, photos: Tensor, landmarks: Tensor) -> None:
    mean = Inversion(generator.w_avg.repeat(3, 18, 1))
    codes = OptimizeEmbedder(generator, tiny_likeness(), FAST).embed(FaceBatch(photos, landmarks))
    refined = FeatureRefiner(generator, tiny_likeness(), FINE).refine(FaceBatch(photos, landmarks), codes)
    assert codes.latents.shape == (3, 18, 16)
    assert refined.residuals[POINT].shape == (3, 8, 64, 64)
    assert torch.equal(refined.latents[:, :9], codes.latents[:, :9])  # edits act there
    assert set(refined.scores) == {"embed_loss", "refine_loss"}
    assert (error(generator, codes, photos) < error(generator, mean, photos)).all()
    assert (error(generator, refined, photos) < error(generator, codes, photos)).all()


def test_a_face_does_not_depend_on_its_batch(generator: MobileStyleGAN, photos: Tensor, landmarks: Tensor) -> None:
    embedder = OptimizeEmbedder(generator, tiny_likeness(), FAST)
    together = embedder.embed(FaceBatch(photos, landmarks))
    for i in range(3):
        alone = embedder.embed(FaceBatch(photos[i : i + 1], landmarks[i : i + 1]))
        assert torch.equal(alone.latents[0], together.latents[i])


def test_landmarks_may_be_absent(generator: MobileStyleGAN, photos: Tensor) -> None:
    made = OptimizeEmbedder(generator, tiny_likeness(), FAST).embed(FaceBatch(photos[:1]))
    assert torch.isfinite(made.latents).all()


def test_microbatches_pad_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stages.microbatch.microbatch_width", lambda device: 2)
    seen: list[list[int]] = []

    def run(index: Tensor) -> Inversion:
        seen.append(index.tolist())
        return Inversion(
            index.float().reshape(-1, 1, 1), {64: index.float().reshape(-1, 1, 1, 1)}, scores={"s": index.float()}
        )

    joined = in_microbatches(run, 3, torch.device("cpu"))
    assert seen == [[0, 1], [2, 2]]
    assert joined.latents.flatten().tolist() == [0, 1, 2]
    assert joined.residuals[64].flatten().tolist() == [0, 1, 2]
    assert joined.scores["s"].tolist() == [0, 1, 2]


def test_ramp_rises_and_falls() -> None:
    factors = [ramp(step, 40) for step in range(40)]
    assert factors[0] < 0.5
    assert max(factors) == pytest.approx(1.0)
    assert 0 < factors[-1] < 0.05


def test_refining_goes_on_from_a_first_residual(generator: MobileStyleGAN, photos: Tensor, landmarks: Tensor) -> None:
    mean = Inversion(generator.w_avg.repeat(3, 18, 1))
    likeness = tiny_likeness()
    good = FeatureRefiner(generator, likeness, FINE).refine(FaceBatch(photos, landmarks), mean)
    short = FeatureSettings(**{**FINE.__dict__, "steps": 3, "finish": 1, "lr": 0.02})
    cold = FeatureRefiner(generator, likeness, short).refine(FaceBatch(photos, landmarks), mean)
    warm = FeatureRefiner(generator, likeness, FINE, short).refine(FaceBatch(photos, landmarks), good)
    assert error(generator, warm, photos).mean() < error(generator, cold, photos).mean()


def test_optimising_goes_on_from_codes(generator: MobileStyleGAN, photos: Tensor, landmarks: Tensor) -> None:
    likeness = tiny_likeness()
    first = OptimizeEmbedder(generator, likeness, FAST)
    known = first.embed(FaceBatch(photos, landmarks))
    nothing = OptimizeSettings(steps=1, lr=0.0, rows_lr=0.0, weights=FAST.weights)
    again = OptimizeEmbedder(generator, likeness, nothing).refine(FaceBatch(photos, landmarks), known)
    assert torch.allclose(again.latents, known.latents, atol=1e-3)


class Watched(TinyGenerator):
    """Notes the parts that it is asked for; its fixed noise is not zero, so that it matters where a part lies."""

    def __init__(self) -> None:
        super().__init__(channels=(8,) * 7, dim=16)
        self.asked: list[tuple[int, ...]] = []
        torch.manual_seed(4)
        for tensor in (*self.parameters(), *(b for name, b in self.named_buffers() if name.endswith("noise"))):
            tensor.normal_(0, 0.3)

    def synthesize_part(self, w: Tensor, feature: Tensor, corner: tuple[int, int]) -> Tensor:
        self.asked.append(tuple(feature.shape[-2:]))
        return super().synthesize_part(w, feature, corner)


@pytest.mark.parametrize("square", [*HALVES, *FULLS])
def test_a_square_is_that_of_the_whole_picture(square: Tile) -> None:
    generator = Watched()
    w = torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(5))
    feature = generator.features(w, (POINT,))[POINT]
    whole = generator.synthesize(w, inject={POINT: feature}).image
    assert torch.allclose(render_tile(generator, w, feature, square), cut(whole, square), atol=1e-5)
    assert len(generator.asked) == 1
    assert max(generator.asked[0]) <= (40 if square.size == 512 else 24)  # of 64


def test_a_small_generators_squares_are_cut_out_of_its_enlarged_picture() -> None:
    generator = MobileStyleGAN(channels=(8,) * 5, dim=16)
    w = torch.randn(1, 18, 16, generator=torch.Generator().manual_seed(5))
    made = render_tile(generator, w, generator.features(w, (POINT,))[POINT], HALVES[4])
    assert torch.equal(made, cut(generator.synthesize(w).image, HALVES[4]))
