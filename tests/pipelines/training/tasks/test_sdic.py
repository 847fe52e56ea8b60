"""The compensator's task: photos and pairs give the terms they should, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pipelines.models.sdic.lean import LeanSDIC, lean_for
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.training.bf16 import HalfGenerator
from pipelines.training.data.photos import FacePhotos
from pipelines.training.loop import Loop
from pipelines.training.specs import SDICSpec
from pipelines.training.tasks.sdic import SDICTask
from tests.pipelines.training.data.test_photos import make_tar
from tests.tiny import tiny_generator, tiny_likeness


def settings(**changes: Any) -> SDICSpec:
    base: dict[str, Any] = {"steps": 4, "batch": 1, "pairs_every": 3, "view": "head", "lr": 1e-2, "half": False}
    return SDICSpec(**base | {"data": ["photos"], "every": 2} | changes)


@pytest.fixture
def task(tmp_path: Path) -> SDICTask:
    generator = tiny_generator()

    def encoder(images: Tensor) -> Tensor:
        return generator.w_avg.expand(len(images), 18, -1).contiguous()

    directions = DirectionSet([Direction(name, torch.ones(18, 16), "", "") for name in ("smile", "age")])
    photos = FacePhotos([make_tar(tmp_path / "b.tar", 45)])
    landmarks = torch.full((68, 2), 0.5)
    return SDICTask(
        settings(), generator, encoder, tiny_likeness(), directions, photos, landmarks, torch.device("cpu"), held_out=1
    )


def network(task: SDICTask) -> LeanSDIC:
    return lean_for(task.generator, channels=8)


def test_photos_and_pairs_take_turns(task: SDICTask) -> None:
    net = network(task)
    photos, pairs = task.terms(net, 0), task.terms(net, 2)
    assert {"pixel", "perceptual", "identity", "compensation"} <= set(photos)
    assert not any(name.startswith("edit_") for name in photos)
    assert {"edit_pixel", "edit_perceptual"} <= set(pairs)
    again = task.terms(net, 2)
    assert all(torch.equal(pairs[name], again[name]) for name in pairs)


def test_it_learns_and_goes_on(task: SDICTask, tmp_path: Path) -> None:
    def run(folder: str, until: int | None = None) -> Loop:
        (tmp_path / folder).mkdir(exist_ok=True)
        loop = Loop(
            settings(output=tmp_path / folder, until=until), network(task), task, Accelerator(cpu=True), lambda f: None
        )
        before = sum(loop.validate()[0].values())
        loop.run()
        assert sum(loop.validate()[0].values()) < before
        return loop

    whole = run("whole")
    run("cut", until=2)
    after = run("cut")
    assert all(torch.equal(value, after.averaged[name]) for name, value in whole.averaged.items())


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(ValueError, match="does nothing"):
        settings(latent=False, feature=False)
    with pytest.raises(ValueError, match="--fine"):
        settings(steps=5, fine=6)


def test_half_precision_comes_back_as_float() -> None:
    generator = tiny_generator()
    half: Any = HalfGenerator(generator)
    w = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)))
    made, exact = half.synthesize(w, collect=(64,)), generator.synthesize(w, collect=(64,))
    assert made.image.dtype == made.features[64].dtype == torch.float32
    assert not torch.equal(made.features[64], exact.features[64])
    assert torch.allclose(made.features[64], exact.features[64], atol=0.1 * float(exact.features[64].abs().max()))
    assert half.num_ws == 18


def test_half_precision_takes_injections() -> None:
    generator = tiny_generator()
    half: Any = HalfGenerator(generator)
    w = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)))
    feature = generator.features(w, (64,))[64]
    size = float(feature.abs().max())
    replaced = half.preview(w, inject={64: feature + size}, collect=(64,)).features[64]
    mapped = half.preview(w, inject={64: lambda x: x + size}, collect=(64,)).features[64]
    assert replaced.dtype == mapped.dtype == torch.float32
    assert torch.allclose(replaced, feature + size, atol=0.02 * size)
    assert torch.allclose(mapped, feature + size, atol=0.1 * size)
    leaf = feature.clone().requires_grad_()
    half.preview(w, inject={64: leaf}).image.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == torch.float32
    assert leaf.grad.abs().max() > 0


def test_edits_of_photos_are_asked_to_move(task: SDICTask) -> None:
    net = network(task)
    assert "moves" not in task.terms(net, 0)
    task.spec = settings(moves=0.5)
    task.inside = torch.zeros(1, 1, 64, 64)
    task.inside[:, :, 16:48, 16:48] = 1
    terms = task.terms(net, 0)
    assert terms["moves"].item() >= 0
    assert terms["stays"].item() > 0
    assert "moves" not in task.terms(net, 1)  # every second step
    again = task.terms(net, 0)
    assert terms["moves"].item() == again["moves"].item()
    moves = {name: task._move(torch.zeros(1, 18, 16), 2 * i) for i, name in enumerate("abcdefgh")}
    sizes = {round(float(move.codes[0, 0, 0]), 4) for move in moves.values() if move is not None}
    assert len(sizes) > 4
    assert all(1 <= abs(size) <= 2 for size in sizes)
    assert min(sizes) < 0 < max(sizes)
