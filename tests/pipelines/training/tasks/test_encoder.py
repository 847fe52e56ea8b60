"""The loop: learns, goes on as if nothing had happened, and stops with one sentence where it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.errors import GanInvError, OutputError, UsageError
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.generators.style_space import style_centre
from pipelines.training import checkpoint
from pipelines.training.data.photos import FacePhotos
from pipelines.training.loop import Loop
from pipelines.training.losses.encoder import LossNetworks
from pipelines.training.specs import EncoderSpec
from pipelines.training.tasks.encoder import EncoderTask
from tests.pipelines.training.data.test_photos import make_tar
from tests.tiny import tiny_generator, tiny_likeness


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.num_ws, self.stage = 18, 17
        self.trunk = nn.Conv2d(3, 4, 9, stride=32)
        self.head = nn.Linear(4 * 8 * 8, 18 * 16)

    def forward(self, images: Tensor) -> Tensor:
        rows: Tensor = self.head(self.trunk(images).flatten(1)).view(-1, 18, 16)
        keep = (torch.arange(18) <= self.stage)[:, None]
        return torch.where(keep, rows, rows[:, :1])


class Quick(MobileStyleGAN):
    """A generator whose picture is one linear map of its codes."""

    def preview(self, w: Tensor, inject: Any = None, collect: Any = ()) -> Any:
        from pipelines.types import Synthesis

        colours = w.mean(dim=1)[:, :3, None, None].tanh()
        return Synthesis(colours.expand(-1, 3, 256, 256), {})


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    generator = tiny_generator()
    generator.__class__ = Quick
    networks = LossNetworks(
        lambda codes: generator.preview(codes).image,
        tiny_likeness(),
        torch.full((68, 2), 0.5),
        style_centre(generator, 100),
    )
    return {"generator": generator, "networks": networks, "photos": FacePhotos([make_tar(tmp_path / "b.tar", 45)])}


def settings(folder: Path, **changes: Any) -> EncoderSpec:
    base: dict[str, Any] = {"steps": 12, "batch": 3, "synthetic": 1, "teach": 2, "lr": 1e-2, "view": "preview"}
    base |= {"data": ["photos"], "output": folder, "half": False, "every": 4, "code_weight": 0.2}
    return EncoderSpec(**base | changes)


def trainer(parts: dict[str, Any], chosen: EncoderSpec) -> Loop:
    chosen.output.mkdir(exist_ok=True)
    task = EncoderTask(chosen, device=torch.device("cpu"), held_out=1, **parts)
    return Loop(chosen, TinyEncoder(), task, Accelerator(cpu=True), lambda figures: None)


@pytest.mark.parametrize("recipe", ["e4e", "lsap", "cycle"])
def test_it_learns_and_writes(parts: dict[str, Any], tmp_path: Path, recipe: str) -> None:
    run = trainer(parts, settings(tmp_path / "run", recipe=recipe, steps=24))
    before = run.validate()[0]["pixel"]
    run.run()
    assert run.validate()[0]["pixel"] < before
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["validation"]
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) >= 1
    assert {"network", "figures", "step"} <= set(checkpoint.load_state(tmp_path / "run" / "best.safetensors"))


@pytest.mark.parametrize("optimiser", ["adamw", "ranger"])
def test_a_run_that_was_cut_ends_as_an_undisturbed_one(parts: dict[str, Any], tmp_path: Path, optimiser: str) -> None:
    whole = trainer(parts, settings(tmp_path / "whole", optimiser=optimiser))
    whole.run()
    cut = trainer(parts, settings(tmp_path / "cut", optimiser=optimiser, until=6))
    cut.run()  # steps 5 and 6 are saved as well here; a kill would lose them, and they would be done again
    after = trainer(parts, settings(tmp_path / "cut", optimiser=optimiser))
    assert after.step == 6
    after.run()
    for name, value in whole.bare.state_dict().items():
        assert torch.equal(value, after.bare.state_dict()[name]), name
    for name, value in whole.averaged.items():
        assert torch.equal(value, after.averaged[name]), name


def test_other_options_are_named(parts: dict[str, Any], tmp_path: Path) -> None:
    trainer(parts, settings(tmp_path / "run", until=4)).run()
    with pytest.raises(UsageError, match=r"lr, recipe"):
        trainer(parts, settings(tmp_path / "run", lr=0.5, recipe="lsap"))


def test_nan_stops_with_the_step_and_the_term(parts: dict[str, Any], tmp_path: Path) -> None:
    trainer(parts, settings(tmp_path / "run", until=4)).run()
    run = trainer(parts, settings(tmp_path / "run"))
    with torch.no_grad():
        run.bare.head.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(GanInvError, match=r"step 4: .* the state of step 4 is kept"):
        run.run()
    assert checkpoint.all_finite(checkpoint.load_state(tmp_path / "run" / "last.safetensors"))


def test_a_full_disk_leaves_the_last_checkpoint(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(parts, settings(tmp_path / "run", until=4)).run()
    run = trainer(parts, settings(tmp_path / "run"))
    kept = (tmp_path / "run" / "last.safetensors").read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    with pytest.raises(OutputError):
        run.run()
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == kept


def test_teaching_judges_codes_alone(parts: dict[str, Any], tmp_path: Path) -> None:
    run = trainer(parts, settings(tmp_path / "run", steps=20, teach=10))
    assert set(run._step()) == {"codes"}
    run.step = 10
    assert {"pixel", "perceptual", "identity", "codes"} <= set(run._step())
