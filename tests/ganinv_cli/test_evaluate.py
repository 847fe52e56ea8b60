"""`ganinv evaluate`: which run it reads, what it asks for, what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pipelines.evaluation.evaluate as verb
from ganinv_cli.options import complete_metrics
from pipelines.evaluation.specs import METRICS, EvaluateSpec
from pipelines.metrics.registry import known_metrics

FIGURES = {"mean": 0.5, "median": None, "n": 2, "better": "higher"}
MADE = {
    "count": 2,
    "missing": 0,
    "written": {"report.html": "sha"},
    "folder": "edits/evaluation",
    "edits": {
        "inversion": {"id-dlib": FIGURES},
        "smile+2": {"id-dlib": FIGURES, "attributes": {"smile": {"mean": float("nan"), "median": 1.9, "n": 2}}},
    },
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[verb.EvaluateSpec]:
    specs: list[verb.EvaluateSpec] = []

    def evaluate(spec: verb.EvaluateSpec, store: Any, on_progress: Any = None) -> dict[str, Any]:
        print("Setting up [LPIPS] perceptual loss")
        specs.append(spec)
        if spec.require:
            raise verb.RequirementUnmet("id-dlib of inversion is 0.5, below 0.9", MADE)
        return MADE

    monkeypatch.setattr(verb, "evaluate", evaluate)
    return specs


def test_the_line_of_the_readme_reads_edits_else_inversions(ganinv: Any, asked: list[verb.EvaluateSpec]) -> None:
    assert ganinv("evaluate", "--metrics", "lpips,id").exit_code == 4
    Path("inversions").mkdir()
    assert ganinv("evaluate", "--metrics", "lpips,id").exit_code == 0
    Path("edits").mkdir()
    assert ganinv("evaluate", "--metrics", "lpips,id", "--metrics", "psnr").exit_code == 0
    assert ganinv("evaluate", "elsewhere").exit_code == 0
    assert [spec.run for spec in asked] == [Path("inversions"), Path("edits"), Path("elsewhere")]
    assert [spec.metrics for spec in asked] == [("lpips", "id"), ("lpips", "id", "psnr"), EvaluateSpec(run="x").metrics]


def test_table_and_json(ganinv: Any, asked: list[verb.EvaluateSpec]) -> None:
    table = ganinv("evaluate", "run").stdout.splitlines()
    assert table[0].split() == ["edit", "metric", "mean", "median", "n", "better"]
    assert table[1].split() == ["inversion", "id-dlib", "0.5", "-", "2", "higher"]
    assert table[3].split() == ["smile+2", "attributes.smile", "-", "1.9", "2", "-"]
    result = ganinv("evaluate", "run", "--json")
    made = json.loads(result.stdout)
    assert made["edits"]["inversion"]["id-dlib"]["mean"] == 0.5
    assert made["edits"]["smile+2"]["attributes"]["smile"]["mean"] is None
    assert "Setting up" in result.stderr


def test_an_unmet_requirement_shows_the_figures_and_exits_6(ganinv: Any, asked: list[verb.EvaluateSpec]) -> None:
    result = ganinv("evaluate", "run", "--require", "id>=0.9", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["count"] == 2
    assert "below 0.9" in result.stderr
    assert asked[0].require == ("id>=0.9",)


def test_missing_pictures_exit_3_unless_they_are_allowed(
    ganinv: Any, asked: list[verb.EvaluateSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MADE, "missing", 3)
    result = ganinv("evaluate", "run")
    assert result.exit_code == 3
    assert "3 pictures could not be judged" in result.stderr
    assert "id-dlib" in result.stdout
    assert ganinv("evaluate", "run", "--allow-missing").exit_code == 0
    assert asked[-1].allow_missing


def test_options_reach_the_spec(ganinv: Any, asked: list[verb.EvaluateSpec]) -> None:
    words = ["--reference", "ref", "--no-report", "--device", "cpu", "--batch-size", "2", "-j", "1"]
    assert ganinv("evaluate", "run", *words).exit_code == 0
    [spec] = asked
    assert (spec.reference, spec.report, spec.device, spec.batch_size, spec.num_workers) == (
        Path("ref"), False, "cpu", 2, 1,
    )  # fmt: skip


def test_an_unknown_metric_names_the_nearest(ganinv: Any) -> None:
    Path("edits").mkdir()
    result = ganinv("evaluate", "--metrics", "lpps")
    assert result.exit_code == 2
    assert "unknown metric 'lpps'; known: lpips" in result.stderr


def test_completion_knows_every_metric() -> None:
    assert set(METRICS) == set(known_metrics())
    assert complete_metrics("lpips,ps") == ["lpips,psnr"]
    assert "lpips" not in complete_metrics("lpips,")[0].removeprefix("lpips,")
