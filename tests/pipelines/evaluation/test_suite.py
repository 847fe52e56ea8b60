"""The suite on real files: its parts, intervals, bounds, what it leaves out, and pictures edited back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.engine.events import ProgressEvent
from pipelines.evaluation import evaluate as verb
from pipelines.evaluation import round_trip, suite
from pipelines.evaluation.evaluate import RequirementUnmet, evaluate
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.evaluation.suite import suite_metrics, suite_table
from pipelines.images.pixels import decode
from pipelines.metrics.faces import Faces
from pipelines.metrics.registry import metrics
from pipelines.metrics.summary import Scores
from pipelines.metrics.tools import SetFigure
from pipelines.specs import EditSpec
from tests.pipelines.evaluation.making import make_run, manifest, record
from tests.pipelines.metrics.fakes import FakeStore, noisy


class Brightness:
    """A metric of sets: the difference of mean brightness, of three pictures or more."""

    name = "brightness"

    def __init__(self, _: Any = None) -> None: ...

    def features(self, faces: Faces) -> Tensor:
        return faces.pixels.mean(dim=(1, 2, 3))[:, None]

    def compare(self, sources: Tensor, results: Tensor) -> SetFigure:
        if len(sources) < 3:
            return SetFigure(None, None, 3)
        return SetFigure(float(results.mean() - sources.mean()), 0.5, 3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite with metrics that need no weights."""
    metrics.names()  # all are found now, not into the copy
    monkeypatch.setattr(metrics, "_entries", dict(metrics._entries))
    metrics.register("brightness", "difference of means", "lower", kind="set")(Brightness)
    parts = {"inversion": ("mse", "psnr"), "edit": ("mse", "round-trip-mse"), "distribution": ("brightness",)}
    monkeypatch.setattr(suite, "PARTS", parts)
    monkeypatch.setattr(suite, "SETS", ())


def _evaluate(run: Path, **more: Any) -> dict[str, Any]:
    said: list[ProgressEvent] = more.pop("said", [])
    spec = EvaluateSpec(run=run, metrics=("mse",), device="cpu", suite=True, **more)
    return evaluate(spec, FakeStore(), said.append)  # type: ignore[arg-type]


def _line(made: dict[str, Any], part: str, edit: str, metric: str) -> dict[str, Any]:
    lines = made["suite"]["lines"]
    return next(line for line in lines if (line["part"], line["edit"], line["metric"]) == (part, edit, metric))


def test_three_parts_with_intervals_around_the_means(tmp_path: Path, small: None) -> None:
    made = _evaluate(make_run(tmp_path, count=4))
    shown = [(line["part"], line["edit"], line["metric"]) for line in made["suite"]["lines"]]
    assert shown == [
        ("inversion", "inversion", "mse"),
        ("inversion", "inversion", "psnr"),
        ("edit", "smile+2", "mse"),
        ("distribution", "inversion", "brightness"),
        ("distribution", "smile+2", "brightness"),
    ]
    line = _line(made, "edit", "smile+2", "mse")
    values = [row["smile+2"]["mse"] for row in made["images"].values()]
    assert line["mean"] == pytest.approx(np.mean(values))
    assert min(values) <= line["low"] < line["mean"] < line["high"] <= max(values)
    assert (line["n"], line["better"]) == (4, "lower")
    assert made == json.loads((tmp_path / "edits/metrics.json").read_text()) | {"folder": made["folder"]}
    assert made["suite"]["formats"] == {"sources": [".png"], "results": [".png"]}
    page = (tmp_path / "edits/report.html").read_text()
    assert "<h2>Suite</h2>" in page
    assert "brightness" in page


def test_an_interval_needs_two_pictures_and_a_seed_fixes_it(tmp_path: Path) -> None:
    scores = Scores({"mse": "lower"})
    scores.add("a", "inversion", {"mse": 1.0})
    one = suite_table(scores, {"mse": "mse"})["lines"][0]
    assert (one["mean"], one["low"], one["high"]) == (1.0, None, None)
    for number in range(9):
        scores.add(f"b{number}", "inversion", {"mse": float(number)})
    assert suite_table(scores, {"mse": "mse"}) == suite_table(scores, {"mse": "mse"})


def test_sets_have_one_figure_an_edit_and_bounds_hold_of_it(tmp_path: Path, small: None) -> None:
    run = make_run(tmp_path)
    made = _evaluate(run, require=("smile+2:brightness<=1", "inversion:brightness<=1"))
    line = _line(made, "distribution", "smile+2", "brightness")
    assert (line["n"], line["spread"], line["low"]) == (3, 0.5, None)
    assert made["edits"]["smile+2"]["brightness"]["mean"] == line["mean"]
    assert all(outcome["met"] for outcome in made["requirements"])
    with pytest.raises(RequirementUnmet, match="brightness of 'smile\\+2'"):
        _evaluate(run, require=("smile+2:brightness<=-1",))


def test_too_few_pictures_are_told_and_meet_no_bound(tmp_path: Path, small: None) -> None:
    run = make_run(tmp_path, count=2)
    made = _evaluate(run)
    assert _line(made, "distribution", "inversion", "brightness")["mean"] is None
    assert "brightness is not given: it needs 3 pictures or more, and here are 2" in made["notes"]
    with pytest.raises(RequirementUnmet, match="could not be measured"):
        _evaluate(run, require=("inversion:brightness<=1",))


def test_what_cannot_be_measured_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "have_extra", lambda: False)
    names, notes = suite_metrics(codes=False, round_trip=False)
    assert {"mse", "moved", "ghost"} <= set(names)
    assert not {"nscd", "kid-mobilenetv2", "fid-mobilenetv2", "round-trip-mse"} & set(names)
    assert [note.partition(" ")[0] for note in notes] == ["nscd", "kid-mobilenetv2"]
    monkeypatch.setattr(suite, "have_extra", lambda: True)
    names, notes = suite_metrics(codes=True, round_trip=True)
    assert {"nscd", "kid-mobilenetv2", "fid-mobilenetv2", "round-trip-mse", "round-trip-id-dlib"} <= set(names)
    assert notes == []


def _back(specs: list[EditSpec], lost: int) -> Callable[..., SimpleNamespace]:
    """A stand-in for `edit`: the pictures with noise of 10 levels, but for the last `lost`."""

    def run(spec: EditSpec, *_: Any) -> SimpleNamespace:
        specs.append(spec)
        files = sorted(spec.inputs[0].glob("*.png"))
        made = files[: len(files) - lost]
        kept = [
            record(spec.output, path, path.stem, {spec.edits[0].name: noisy(decode(path.read_bytes()), 10)})
            for path in made
        ]
        manifest(spec.output, kept)
        return SimpleNamespace(failed=lost)

    return run


def _describe(run: Path, **spec: Any) -> None:
    about = {"spec": {"generator": "mobile-ffhq", "method": "photo", "seed": 7, **spec}, "weights": {}}
    (run / "run.json").write_text(json.dumps(about))


@pytest.mark.parametrize(("compose", "start"), [(None, "source"), ("none", "inversion")])
def test_every_edit_is_edited_back_by_the_runs_own_chain(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, compose: str | None, start: str
) -> None:
    run, specs, said = make_run(tmp_path), [], []
    _describe(run, compose=compose)
    monkeypatch.setattr(round_trip, "run_to_destination", _back(specs, lost=1))
    monkeypatch.setattr(verb, "_open_codes", lambda *_: [])
    made = _evaluate(run, said=said)
    assert [(spec.edits[0].name, spec.method, spec.seed, spec.aligned, spec.compose) for spec in specs] == [
        ("smile-2", "photo", 7, True, compose)
    ]
    assert specs[0].inputs == (run / "smile+2",)
    line = _line(made, "edit", "smile+2", "round-trip-mse")
    assert line["n"] == 2  # the third could not be edited back
    folder = tmp_path / "faces" if start == "source" else run / "inversion"
    expected = [_mse(folder / f"{key}.png", run / f"round-trip/smile+2/smile-2/{key}.png") for key in ("000", "001")]
    assert line["mean"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert any("round trip" in event.message for event in said)
    assert "1 of the pictures of 'smile+2' could not be edited back" in made["notes"]


def _mse(one: Path, other: Path) -> float:
    a, b = (torch.from_numpy(decode(path.read_bytes()).astype(np.float32)) / 127.5 - 1 for path in (one, other))
    return float((a - b).square().mean())


def test_no_round_trip_where_it_is_not_wanted_or_there_is_no_opposite(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, specs = make_run(tmp_path, edits=("age=60y",)), []
    _describe(run)
    monkeypatch.setattr(round_trip, "run_to_destination", _back(specs, lost=0))
    monkeypatch.setattr(verb, "_open_codes", lambda *_: [])
    made = _evaluate(run)
    assert "'age=60y' has no opposite edit, so no round trip" in made["notes"]
    _evaluate(run, round_trip=False)
    assert specs == []
