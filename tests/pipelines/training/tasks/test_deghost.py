"""Deghosting's task and its bank: what is kept comes back, targets are right, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from pipelines.models.diffcam.deghost import DeghostNet
from pipelines.training.data.ghosts import GhostBank, Ghosts
from pipelines.training.edit_specs import DeghostSpec
from pipelines.training.loop import Loop
from pipelines.training.tasks.deghost import DeghostTask
from tests.tiny import tiny_likeness


def draw(place: int) -> Ghosts:
    """The edit brightens a square; its composite has the mask of the square, at two thirds."""
    rng = torch.Generator().manual_seed(place)
    photo = (torch.rand(1, 3, 8, 8, generator=rng) - 0.5).repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 64:128, 32:96] = 2 / 3
    edited = (photo + 0.4).clamp(-1, 1)
    target = torch.where(mask > 0, edited, photo) if place % 2 else photo
    return Ghosts(photo, photo, edited, target, mask)


@pytest.fixture
def bank(tmp_path: Path) -> GhostBank:
    made = GhostBank(tmp_path / "pairs", 12)
    made.fill(draw, lambda f: None)
    return made


def settings(**changes: Any) -> DeghostSpec:
    base: dict[str, Any] = {"data": ["photos"], "steps": 4, "batch": 2, "every": 2, "lr": 1e-2, "half": False}
    return DeghostSpec(**base | changes)


def test_the_bank_keeps_what_was_drawn_and_goes_on(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stops(place: int) -> Ghosts:
        if place == 5:
            raise Stopped
        return draw(place)

    first = GhostBank(tmp_path / "pairs", 8)
    with pytest.raises(Stopped):
        first.fill(stops, lambda f: None, every=2)
    asked: list[int] = []
    second = GhostBank(tmp_path / "pairs", 8)
    second.fill(lambda place: asked.append(place) or draw(place), lambda f: None, every=2)  # type: ignore[func-returns-value]
    assert asked == [4, 5, 6, 7]
    for place in (1, 4, 7):
        kept, drawn = second.at([place]), draw(place)
        for name in Ghosts.__dataclass_fields__:
            assert torch.allclose(getattr(kept, name), getattr(drawn, name), atol=1 / 127)


def test_photos_ask_for_no_change_and_their_masks_are_folded(bank: GhostBank) -> None:
    seen = set()
    for seed in range(12):
        one = bank.batch([2], np.random.default_rng(seed))
        assert torch.equal(one.target, one.photo)
        still = torch.equal(one.edited, one.base)
        assert still or float(one.mask.max()) <= 0.5
        seen.add(still)
    assert seen == {True, False}
    generated = bank.batch([3], np.random.default_rng(0))
    assert float(generated.mask.max()) > 0.6
    assert not torch.equal(generated.target, generated.photo)


def test_terms_are_decided_by_the_step_and_an_adversary_joins(bank: GhostBank) -> None:
    torch.manual_seed(0)
    net = DeghostNet((8, 8, 8, 8))
    task = DeghostTask(settings(), bank, tiny_likeness(), torch.device("cpu"))
    one, again = task.terms(net, 1), task.terms(net, 1)
    assert set(one) == {"pixel", "perceptual", "contour"}
    assert all(torch.equal(one[name], again[name]) for name in one)
    judged = DeghostTask(settings(adversarial=0.01), bank, tiny_likeness(), torch.device("cpu"))
    assert judged.adversary is not None
    before = judged.adversary.final_linear[1].bias.clone()
    assert "adversarial" in judged.terms(net, 1)
    assert not torch.equal(judged.adversary.final_linear[1].bias, before)
    other = DeghostTask(settings(adversarial=0.01), bank, tiny_likeness(), torch.device("cpu"))
    other.load_state(judged.state())
    assert other.adversary is not None
    assert torch.equal(other.adversary.final_linear[1].bias, judged.adversary.final_linear[1].bias)


def test_it_learns_to_show_one_layer(bank: GhostBank, tmp_path: Path) -> None:
    spec = settings(output=tmp_path, steps=30, every=30, lr=0.1)
    torch.manual_seed(0)
    task = DeghostTask(spec, bank, tiny_likeness(), torch.device("cpu"))
    loop = Loop(spec, DeghostNet((8, 8, 8, 8)), task, Accelerator(cpu=True), lambda f: None)
    before = sum(loop.validate()[0].values())
    loop.run()
    assert sum(loop.validate()[0].values()) < before
