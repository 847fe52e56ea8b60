"""`ganinv compare`: its table, its files, its sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.evaluation.evaluate import evaluate
from tests.pipelines.evaluation.making import make_run, make_spec
from tests.pipelines.metrics.fakes import FakeStore


def test_two_runs_give_a_table_and_a_page(ganinv: Any, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, 2) for name in ("one", "two")]
    assert ganinv("compare", *map(str, runs)).exit_code == 2
    for run in runs:
        evaluate(make_spec(run, report=False), FakeStore())
    result = ganinv("compare", *map(str, runs))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["edit", "metric", "better", "n", "one/edits", "two/edits"]
    assert "compare.html" in result.stderr
    assert sorted(path.name for path in Path("comparison").iterdir()) == [
        "compare.csv", "compare.html", "compare.json", "compare.md",
    ]  # fmt: skip
    made = json.loads(ganinv("compare", *map(str, runs), "--json", "-o", "other").stdout)
    assert made["runs"] == ["one/edits", "two/edits"]


def test_one_run_is_nothing_to_compare(ganinv: Any, tmp_path: Path) -> None:
    result = ganinv("compare", str(tmp_path))
    assert result.exit_code == 2
    assert "two or more" in result.stderr
