"""The mask network's task: edits of photos' codes, their classes, and a network that comes to tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pipelines.models.diffcam.lean import POINT, LeanDiffCAM, lean_diffcam_for
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.training.data.photos import FacePhotos
from pipelines.training.edit_specs import DiffCAMSpec
from pipelines.training.loop import Loop
from pipelines.training.tasks.diffcam import DiffCAMTask
from tests.pipelines.training.data.test_photos import make_tar
from tests.tiny import tiny_generator

CLASSES = ("smile", "age")


def settings(**changes: Any) -> DiffCAMSpec:
    base: dict[str, Any] = {"steps": 12, "batch": 4, "lr": 0.1, "half": False, "disturbance": 0.0}
    return DiffCAMSpec(**base | {"data": ["photos"], "every": 6} | changes)


@pytest.fixture
def task(tmp_path: Path) -> DiffCAMTask:
    generator = tiny_generator()

    def encoder(images: Tensor) -> Tensor:
        return generator.w_avg.expand(len(images), 18, -1) + images.mean(dim=(1, 2, 3))[:, None, None]

    def direction(seed: int) -> Tensor:
        return torch.randn(18, 16, generator=torch.Generator().manual_seed(seed))

    directions = DirectionSet([Direction(name, direction(i), "", "") for i, name in enumerate(CLASSES)])
    photos = FacePhotos([make_tar(tmp_path / "b.tar", 45)])
    return DiffCAMTask(settings(), generator, EncoderEmbedder(encoder), directions, CLASSES, photos)


def network(task: DiffCAMTask) -> LeanDiffCAM:
    made = lean_diffcam_for(task.generator, CLASSES)
    made.calibrate(
        task._changes(task.photos.batch(0, 4, 0), 0)[0]
    )  # random features change by far less than they differ
    return made


def test_a_step_is_decided_by_its_number(task: DiffCAMTask) -> None:
    net = network(task)
    one, again, other = (task.terms(net, step)["cross_entropy"] for step in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_changes_are_of_the_class_they_are_called(task: DiffCAMTask) -> None:
    photos = task.photos.batch(0, 4, 0)
    change, wanted = task._changes(photos, 7)
    codes = task.encoder.network(photos)
    before = task.generator.features(codes, (POINT,))[POINT]
    for i, index in enumerate(wanted.tolist()):
        likeness = []
        for name in CLASSES:
            moved = task.directions.apply(codes[i : i + 1], [(name, 1.0)])
            made = task.generator.features(moved, (POINT,))[POINT] - before[i : i + 1]
            likeness.append(float(torch.cosine_similarity(made.flatten(), change[i].flatten(), dim=0)))
        assert max(range(2), key=likeness.__getitem__) == index


def loss(task: DiffCAMTask, net: torch.nn.Module) -> float:
    """Over steps that no run comes to."""
    return sum(float(task.terms(net, step)["cross_entropy"].detach()) for step in range(100, 104))


def test_it_learns_and_goes_on(task: DiffCAMTask, tmp_path: Path) -> None:
    def run(folder: str, until: int | None = None) -> Loop:
        (tmp_path / folder).mkdir(exist_ok=True)
        spec = settings(output=tmp_path / folder, until=until)
        loop = Loop(spec, network(task), task, Accelerator(cpu=True), lambda f: None)
        before = loss(task, loop.bare)
        loop.run()
        if until is None:
            assert loss(task, loop.bare) < 0.8 * before
        return loop

    whole = run("whole")
    run("cut", until=6)
    cut = run("cut")
    for name, value in whole.bare.state_dict().items():
        assert torch.equal(value, cut.bare.state_dict()[name]), name
