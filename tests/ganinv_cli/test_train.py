"""`ganinv train encoder|sdic`: every option reaches the settings, mistakes are one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from pipelines.training import encoder_verb, sdic_verb


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def verb(store: Any, out: Path, report: Any, settings: Any, data: Any, device: str, every: int, until: Any) -> Path:
        seen.update(out=out, settings=settings, data=data, device=device, every=every, until=until)
        report({"step": 1, "best": 0.5})
        return out / "made.safetensors"

    monkeypatch.setattr(encoder_verb, "train_encoder", verb)
    monkeypatch.setattr(sdic_verb, "train_sdic", verb)
    return seen


def test_encoder_options_reach_the_settings(ganinv: Callable[..., Result], called: dict[str, Any]) -> None:
    words = (
        "--recipe lsap --steps 9 --batch 4 --synthetic 1 --teach 3 --weight identity=0.5 --optimiser ranger --lr 0.1"
    )
    more = (
        "--start 0.5 --view preview --float --device cpu --every 7 --until 5 --seed 3 --code-weight 0.3 --network e4e"
    )
    done = ganinv("train", "encoder", "--data", "a", "--data", "b.tar", "-o", "run", *words.split(), *more.split())
    assert done.exit_code == 0, done.output
    settings = called["settings"]
    assert (settings.recipe, settings.network, settings.steps, settings.batch) == ("lsap", "e4e", 9, 4)
    assert (settings.synthetic, settings.teach, settings.code_weight) == (1, 3, 0.3)
    assert settings.weights == {"identity": 0.5}
    assert (settings.optimiser, settings.lr, settings.start, settings.view) == ("ranger", 0.1, 0.5, "preview")
    assert (settings.half, settings.seed) == (False, 3)
    assert called["data"] == [Path("a"), Path("b.tar")]
    assert (called["device"], called["every"], called["until"], called["out"]) == ("cpu", 7, 5, Path("run"))
    assert "made.safetensors" in done.stdout


def test_sdic_options_reach_the_settings(ganinv: Callable[..., Result], called: dict[str, Any]) -> None:
    words = "--steps 9 --batch 4 --pairs-every 3 --fine 2 --raw --no-latent --lr 0.1 --compensation 0.2 --encoder lsap"
    done = ganinv("train", "sdic", "--data", "a", *words.split(), "--json")
    assert done.exit_code == 0, done.output
    settings = called["settings"]
    assert (settings.steps, settings.batch, settings.pairs_every, settings.fine) == (9, 4, 3, 2)
    assert (settings.discrepancy, settings.latent, settings.feature) == ("raw", False, True)
    assert (settings.lr, settings.compensation, settings.encoder) == (0.1, 0.2, "lsap")


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
