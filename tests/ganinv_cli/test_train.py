"""`ganinv train encoder|sdic`: every option reaches the settings, mistakes are one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from pipelines.training import run as training


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []

    def verb(spec: Any, store: Any, report: Any) -> Path:
        seen.append(spec)
        report({"step": 1, "best": 0.5})
        return spec.output / "made.safetensors"

    monkeypatch.setattr(training, "train", verb)
    return seen


def test_encoder_options_reach_the_training(ganinv: Callable[..., Result], called: list[Any]) -> None:
    words = (
        "--recipe lsap --steps 9 --batch 4 --synthetic 1 --teach 3 --weight identity=0.5 --optimiser ranger --lr 0.1"
    )
    more = (
        "--start 0.5 --view preview --float --device cpu --every 7 --until 5 --seed 3 --code-weight 0.3 --network e4e"
    )
    done = ganinv("train", "encoder", "--data", "a", "--data", "b.tar", "-o", "run", *words.split(), *more.split())
    assert done.exit_code == 0, done.output
    spec = called[0]
    assert (spec.recipe, spec.network, spec.steps, spec.batch) == ("lsap", "e4e", 9, 4)
    assert (spec.synthetic, spec.teach, spec.code_weight) == (1, 3, 0.3)
    assert spec.weights == {"identity": 0.5}
    assert (spec.optimiser, spec.lr, spec.start, spec.view) == ("ranger", 0.1, 0.5, "preview")
    assert (spec.half, spec.seed) == (False, 3)
    assert spec.data == (Path("a"), Path("b.tar"))
    assert (spec.device, spec.every, spec.until, spec.output) == ("cpu", 7, 5, Path("run"))
    assert "made.safetensors" in done.stdout


def test_sdic_options_reach_the_training(ganinv: Callable[..., Result], called: list[Any]) -> None:
    words = "--steps 9 --batch 4 --pairs-every 3 --fine 2 --discrepancy raw --no-latent --lr 0.1 --compensation 0.2"
    done = ganinv("train", "sdic", "--data", "a", *words.split(), "--encoder", "lsap", "--json")
    assert done.exit_code == 0, done.output
    spec = called[0]
    assert (spec.steps, spec.batch, spec.pairs_every, spec.fine) == (9, 4, 3, 2)
    assert (spec.discrepancy, spec.latent, spec.feature) == ("raw", False, True)
    assert (spec.lr, spec.compensation, spec.encoder) == (0.1, 0.2, "lsap")


@pytest.mark.parametrize("name", ["encoder", "sdic", "head", "directions"])
def test_every_training_has_its_command_and_its_help(ganinv: Callable[..., Result], name: str) -> None:
    shown = ganinv("train", name, "--help")
    assert shown.exit_code == 0
    assert "--seed" in shown.output
    assert "Attributes:" not in shown.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("encoder --data a --weight smile=1", "--weight"),
        ("encoder --data a --batch 2 --synthetic 3", "--synthetic"),
        ("encoder --data a --optimiser sgd", "optimiser"),
        ("encoder --data nowhere --device cpu", "nowhere"),
        ("encoder --data a --recipe psp", "recipe"),
        ("encoder --data a --network vgg", "network"),
        ("sdic --data a --no-latent --no-feature", "does nothing"),
        ("sdic --data nowhere", "nowhere"),
        ("encoder", "--data"),
    ],
)
def test_mistakes_are_one_sentence(ganinv: Callable[..., Result], words: str, said: str) -> None:
    done = ganinv("train", *words.split())
    assert done.exit_code == 2
    assert said in done.output
