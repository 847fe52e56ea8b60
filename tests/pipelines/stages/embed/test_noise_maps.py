"""A face's own noise maps: what is found, what it is kept as, and that nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.perceptual.likeness import Weights
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.stages.embed import optimize
from pipelines.stages.embed.noise_maps import NoiseFitter, NoiseSettings
from pipelines.stages.embed.optimize import OptimizeEmbedder, OptimizeSettings
from pipelines.stages.refine.projection import noise_penalty
from pipelines.stages.render import render
from pipelines.types import FaceBatch, Generator, Inversion
from tests.tiny import tiny_generator, tiny_likeness

CODES = OptimizeSettings(steps=1, rows_from=1, weights=Weights(1.0, 1.0, 0.0, 32))
NOISE = NoiseSettings(steps=4, lr=0.3, white=0.1)


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    torch.manual_seed(0)
    generator = StyleGAN2(32, dict.fromkeys((4, 8, 16, 32), 8), 16, 2)
    for layer in generator.layers:
        if not layer.rgb and layer.size > 4:  # the layer at 4 px ignores its map
            generator.get_parameter(f"{layer.module}.noise.weight").fill_(0.5)
    return generator


@pytest.fixture(scope="module")
def faces() -> FaceBatch:
    return FaceBatch(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5)


@pytest.fixture(scope="module")
def found(generator: StyleGAN2, faces: FaceBatch) -> Inversion:
    """Both faces with maps of their own."""
    return embedder(generator).embed(faces)


def embedder(generator: Generator, noise: bool = True, seconds: float | None = None) -> OptimizeEmbedder:
    fitter = NoiseFitter(generator, tiny_likeness(), NOISE) if noise else None
    return OptimizeEmbedder(generator, tiny_likeness(), CODES, seconds=seconds, noise=fitter)


def error(generator: Generator, inversion: Inversion, images: Tensor) -> Tensor:
    return (render(generator, inversion).image - images).square().mean(dim=(1, 2, 3))


def test_maps_bring_a_face_nearer_and_codes_stay(generator: StyleGAN2, faces: FaceBatch, found: Inversion) -> None:
    plain = embedder(generator, noise=False).embed(faces)
    assert plain.deltas == {}
    assert torch.equal(found.latents, plain.latents)
    assert list(found.deltas) == [f"noises.noise_{i}" for i in range(1, 7)]
    assert (error(generator, found, faces.images) < error(generator, plain, faces.images)).all()


def test_maps_stay_noise(generator: StyleGAN2, faces: FaceBatch, found: Inversion) -> None:
    for name, delta in found.deltas.items():
        own = generator.get_buffer(name)
        made = (own + delta[:, 0]) / own.std()
        assert torch.allclose(made.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-4)
        assert torch.allclose(made.std(dim=(1, 2, 3)), torch.ones(2), atol=1e-4)
    free = OptimizeEmbedder(
        generator, tiny_likeness(), CODES, noise=NoiseFitter(generator, tiny_likeness(), replace(NOISE, white=0.0))
    ).embed(faces)

    def picture(inversion: Inversion) -> Tensor:
        maps = [generator.get_buffer(name) + delta[:, 0] for name, delta in inversion.deltas.items()]
        return noise_penalty(maps)

    assert (picture(found) < picture(free)).all()


def test_a_face_does_not_depend_on_its_batch_and_leaves_the_generator_as_it_was(
    generator: StyleGAN2, faces: FaceBatch, found: Inversion
) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    alone = [embedder(generator).embed(faces[i : i + 1]) for i in range(2)]  # the same numbers, so runs repeat, too
    for name, delta in found.deltas.items():
        assert torch.equal(delta, torch.cat([each.deltas[name] for each in alone]))
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_several_faces_in_one_pass(generator: StyleGAN2, faces: FaceBatch) -> None:
    """As a GPU fits them: a map a face, none of which sees the others."""
    fitter, likeness, weights = NoiseFitter(generator, tiny_likeness(), NOISE), tiny_likeness(), CODES.weights
    codes = torch.randn(2, generator.num_ws, 16, generator=torch.Generator().manual_seed(4))

    def fit(index: slice) -> dict[str, Tensor]:
        target = likeness.target(faces.images[index], faces[index].points(), weights)
        return fitter.fit(lambda lent: lent.preview(codes[index]).image, target, weights, len(codes[index]))

    together, second = fit(slice(0, 2)), fit(slice(1, 2))
    for name, delta in together.items():
        assert delta.shape == (2, 1, *generator.get_buffer(name).shape[1:])
        torch.testing.assert_close(delta[1:2], second[name], atol=1e-3, rtol=1e-3)


def test_a_file_brings_back_the_same_picture(generator: StyleGAN2, found: Inversion) -> None:
    found = found.stored()
    read = load_inversion(save_inversion(found, 1, {}))[0]
    assert torch.equal(render(generator, read).image, render(generator, found).image[1:2])
    edited = found.latents + 0.1
    plain = replace(found, deltas={})
    assert not torch.allclose(render(generator, found, edited).image, render(generator, plain, edited).image)


def test_a_refiners_maps_take_the_place_of_those_before(
    generator: StyleGAN2, faces: FaceBatch, found: Inversion
) -> None:
    start = found[:1]
    kept = replace(start, deltas={**start.deltas, "convs.0.conv.weight": torch.zeros(1, 1, 8, 8, 3, 3)})
    refined = embedder(generator).refine(faces[:1], kept)
    assert set(refined.deltas) == set(kept.deltas)
    assert not torch.equal(refined.deltas["noises.noise_6"], kept.deltas["noises.noise_6"])


def test_maps_take_their_share_of_a_faces_seconds(
    generator: StyleGAN2, faces: FaceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    def paced(steps: int, seconds: float | None, device: torch.device) -> list[tuple[int, int]]:
        given.append(seconds)
        return [(0, 0)]

    monkeypatch.setattr(optimize, "paced", paced)
    monkeypatch.setattr("pipelines.stages.embed.noise_maps.paced", paced)
    embedder(generator, seconds=10.0).embed(faces[:1])
    embedder(generator, noise=False, seconds=10.0).embed(faces[:1])
    assert given == pytest.approx([6.0, 4.0, 10.0])


def test_the_maps_that_a_preview_shows() -> None:
    mobile = tiny_generator()
    for name, buffer in mobile.named_buffers():
        if name.endswith(".noise"):
            buffer.normal_()
    shown = mobile.noise_maps()
    assert len(shown) == 11
    assert max(mobile.get_buffer(name).shape[-1] for name in shown) == 128
    assert sum(mobile.get_buffer(name).numel() for name in shown) * 2 < 100_000  # bytes a face


def test_a_generator_without_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="--noise-maps: the generator 'mobile-ffhq' shows no noise maps"):
        NoiseFitter(tiny_generator(), tiny_likeness())  # its maps are all zero
