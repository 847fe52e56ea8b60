"""The encoder fitted to a photo, on stand-ins for generator and encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Weights
from pipelines.stages.refine.cycle import CycleRefiner, CycleSettings, generated_faces
from pipelines.types import FaceBatch, Inversion, Synthesis
from tests.tiny import tiny_likeness

FAST = CycleSettings(steps=3, lr=1e-3, faces=2, weights=Weights(0.8, 1.0, 0.0, 256))


class Painter:
    """Codes to pictures by a matrix: what a generator is to the refiner, in a millisecond."""

    def __init__(self) -> None:
        self.w_avg = torch.zeros(512)
        self._matrix = torch.randn(512, 3 * 8 * 8, generator=torch.Generator().manual_seed(0)) / 8

    def map(self, z: Tensor) -> Tensor:
        return z

    def preview(self, w: Tensor, inject: object = None, collect: object = ()) -> Synthesis:
        codes = w if w.ndim == 2 else w.mean(dim=1)
        picture = torch.tanh(codes @ self._matrix).reshape(-1, 3, 8, 8)
        return Synthesis(picture.repeat_interleave(32, 2).repeat_interleave(32, 3), {})


@pytest.fixture(scope="module")
def generator() -> Any:
    return Painter()


class Network(nn.Module):
    """An encoder of sixteen rows' worth of nothing but colours."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Linear(3 * 8 * 8, 18 * 512)

    def forward(self, images: Tensor) -> Tensor:
        codes: Tensor = self.rows(resize_area(images, 8).flatten(1)).reshape(-1, 18, 512)
        return codes


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return Network().requires_grad_(False).eval()


@pytest.fixture(scope="module")
def faces() -> FaceBatch:
    return FaceBatch(torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(3)) * 0.2 + 0.5)


def refiner(generator: Any, network: nn.Module, settings: CycleSettings = FAST, seed: int = 0) -> CycleRefiner:
    return CycleRefiner(generator, network, tiny_likeness(), generated_faces(generator, seed), 64, settings, seed)


@pytest.fixture(scope="module")
def start(network: nn.Module, faces: FaceBatch) -> Inversion:
    return Inversion(network(resize_area(faces.images, 256)), scores={"before": torch.zeros(2)})


def test_each_photo_starts_from_a_fresh_copy(
    generator: Any, network: nn.Module, faces: FaceBatch, start: Inversion
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    both = refiner(generator, network).refine(faces, start)
    alone = refiner(generator, network).refine(faces[1:], start[1:])
    assert torch.equal(both.latents[1], alone.latents[0])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert set(both.scores) == {"before", "rows"}
    offsets = (both.latents[:, 1:] - both.latents[:, :1]).norm(dim=2).mean(dim=1)
    assert torch.allclose(both.scores["rows"], offsets)

    def error(codes: Tensor) -> Tensor:
        return (generator.preview(codes).image - faces.images).square().mean(dim=(1, 2, 3))

    assert (error(both.latents) < error(start.latents)).all()


def test_other_faces_are_others_under_another_seed(
    generator: Any, network: nn.Module, faces: FaceBatch, start: Inversion
) -> None:
    one, other = (refiner(generator, network, seed=seed).refine(faces[:1], start[:1]).latents for seed in (0, 1))
    assert not torch.equal(one, other)


def test_the_regularizer_keeps_the_encoder_on_other_faces(generator: Any, network: nn.Module, faces: FaceBatch) -> None:
    """The gradient of the others is part of the step: with them first moments differ from those of the photo alone."""
    fit = refiner(generator, network)
    others = fit.others(torch.arange(2))
    codes = network(others).requires_grad_()
    fit._regular(codes, others).backward()
    assert codes.grad is not None
    assert (codes.grad.flatten(1).norm(dim=1) > 0).all()
