"""Runs side by side: intervals of known width, pairing by face, and what is written."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from pipelines.evaluation.compare import Comparison, Interval, Line, bootstrap, compare_runs
from pipelines.evaluation.compare_page import write_comparison
from pipelines.evaluation.compare_sweeps import write_sweeps
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.pairing import pair_run
from pipelines.evaluation.scatter import scatter_of
from pipelines.images.films import Film
from tests.pipelines.evaluation.making import make_run, make_spec
from tests.pipelines.metrics.fakes import FakeStore


def _runs(tmp_path: Path, *counts: int) -> list[Path]:
    runs = []
    for number, count in enumerate(counts):
        runs.append(make_run(tmp_path / f"r{number}", count))
        evaluate(make_spec(runs[-1], report=False), FakeStore())
    return runs


def _better(run: Path, factor: float) -> None:
    body = json.loads((run / "metrics.json").read_text())
    for edits in body["images"].values():
        edits["inversion"]["mse"] *= factor
    (run / "metrics.json").write_text(json.dumps(body))


def test_an_interval_is_as_wide_as_the_normal_law_says() -> None:
    values = np.random.default_rng(3).normal(5, 2, (400, 1))
    [found] = bootstrap(values)
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=half / 5)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 5)


def test_pairing_finds_a_small_difference_that_the_spread_hides() -> None:
    spread = np.random.default_rng(0).normal(0, 10, 100)
    small = 0.1 + np.random.default_rng(1).normal(0, 0.1, 100)
    one, two, difference = bootstrap(np.stack([spread, spread + small, small], axis=1))
    assert one.high > two.low, "the intervals of the means overlap"
    assert difference.excludes_zero
    assert not bootstrap(np.random.default_rng(2).normal(0, 1, (100, 1)))[0].excludes_zero
    assert bootstrap(np.ones((1, 1)))[0].low is None


def test_a_run_that_is_better_on_every_face_is_marked(tmp_path: Path) -> None:
    one, two = _runs(tmp_path, 4, 4)
    _better(two, 0.5)
    made = compare_runs([one, two])
    assert list(made.runs) == ["r0/edits", "r1/edits"]
    line = next(line for line in made.lines if (line.edit, line.metric) == ("inversion", "mse"))
    assert line.n == 4
    first, second = line.values
    assert first is not None
    assert second is not None
    assert second.mean == pytest.approx(first.mean / 2)
    assert line.differences[0] is None
    assert line.differences[1] is not None
    assert line.differences[1].excludes_zero
    same = next(line for line in made.lines if (line.edit, line.metric) == ("smile+2", "mse"))
    assert same.differences[1] is not None
    assert not same.differences[1].excludes_zero
    headers, rows = made.table()
    assert headers == ["edit", "metric", "better", "n", "r0/edits", "r1/edits"]
    assert rows[0][:4] == ["inversion", "mse", "lower", "4"]
    assert rows[0][5].endswith("*")
    worst = made.disagreements[0]
    assert (worst.key, worst.edit) == ("003", "inversion"), "where halving changes most"
    assert worst.spread == max(worst.values.values()) - min(worst.values.values())
    assert list(worst.values) == list(made.runs)
    assert compare_runs([one, two]) == made


def test_only_faces_that_all_runs_have_are_compared(tmp_path: Path) -> None:
    one, two = _runs(tmp_path, 5, 3)
    made = compare_runs([one, two])
    assert {line.n for line in made.lines} == {3}
    assert all(d is None or d.mean == 0 for line in made.lines for d in line.differences)
    assert "runs of different size" in made.notes[0]


def test_everything_is_written_and_nothing_of_others_overwritten(tmp_path: Path) -> None:
    runs = _runs(tmp_path, 2, 2)
    _better(runs[1], 0.5)
    made = compare_runs(runs)
    write_comparison(made, tmp_path / "out")
    page = (tmp_path / "out/compare.html").read_text()
    assert page.count("<article>") == 4
    assert page.count('<div class="head"><span>mse</span>') == 8, "each run's value below its picture"
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)  # the one that the page's own policy allows
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in page
    assert page.count("data-full=") >= 6  # the source and each run's picture of the rows, for the slider
    assert "r1/edits" in page
    assert (
        (tmp_path / "out/compare.md").read_text().startswith("| edit | metric | better | n | r0/edits | r1/edits |\n")
    )
    rows = list(csv.reader(io.StringIO((tmp_path / "out/compare.csv").read_text())))
    assert len(rows) == 1 + 2 * len(made.lines)
    assert json.loads((tmp_path / "out/compare.json").read_text()) == made.as_dict()
    write_comparison(made, tmp_path / "out")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/compare.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"compare\.csv' was not written"):
        write_comparison(made, tmp_path / "own")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    one, two = _runs(tmp_path, 2, 2)
    with pytest.raises(UsageError, match="two or more"):
        compare_runs([one])
    with pytest.raises(UsageError, match="two or more"):
        compare_runs([one, one])
    (two / "metrics.json").unlink()
    with pytest.raises(UsageError, match="run `ganinv evaluate` on it first"):
        compare_runs([one, two])
    evaluate(make_spec(two, "ssim", report=False), FakeStore())
    with pytest.raises(UsageError, match="no metric of one edit in common"):
        compare_runs([one, two])


def test_distortion_and_editability_are_drawn_where_both_were_measured() -> None:
    def line(edit: str, metric: str, *means: float) -> Line:
        values = [Interval(mean, mean - 0.01, mean + 0.01) for mean in means]
        return Line(edit, metric, "none", 9, values, [None, values[0]])

    lines = [
        line("inversion", "lpips-alex", 0.2, 0.4),
        line("smile+2", "attributes.smile", 1.0, 3.0),
        line("age-1", "attributes.age", -0.5, -1.5),
        line("age-1", "attributes.smile", 9.0, 9.0),  # nobody asked for that
        line("smile+2,age-1", "attributes.smile", 9.0, 9.0),
    ]
    runs = {"a": Path("a"), "b": Path("b")}
    drawn = scatter_of(Comparison(runs, lines, [], "lpips-alex", []))
    assert drawn is not None
    first, second = drawn.marks
    assert (first.run, second.run, drawn.distortion) == ("a", "b", "lpips-alex")
    assert first.x < second.x  # more distortion lies further right, more editability higher
    assert first.y > second.y
    assert first.across[0] < first.x < first.across[1]
    assert float(drawn.y_ticks[0][1]) < 0.5 < 1.5 < float(drawn.y_ticks[-1][1])
    assert scatter_of(Comparison(runs, lines[1:], [], "", [])) is None
    moved = [line("smile+2", "moved", 0.4, 0.8), line("smile+2,age-1", "moved", 0.6, 1.0)]  # for each unit already
    assert scatter_of(Comparison(runs, moved, [], "", [])) is None
    drawn = scatter_of(Comparison(runs, [*lines, *moved], [], "lpips-alex", []))
    assert drawn is not None
    assert 0.4 < float(drawn.y_ticks[0][1]) < 0.5, "from the least mean, not from what attributes say"


def test_figures_of_whole_sets_are_not_paired(tmp_path: Path) -> None:
    runs = _runs(tmp_path, 3, 3)
    for run in runs:
        body = json.loads((run / "metrics.json").read_text())
        body["edits"]["inversion"]["kid"] = {"mean": 0.1, "median": None, "n": 3, "better": "lower", "spread": 0.01}
        body["metrics"]["kid"] = {"better": "lower"}
        (run / "metrics.json").write_text(json.dumps(body))
    assert {line.metric for line in compare_runs(runs).lines} == {"mse", "psnr"}


@pytest.mark.parametrize("film", ["webp", "mp4"])
def test_sweeps_show_every_run_side_by_side(tmp_path: Path, film: Film) -> None:
    if film == "mp4":
        pytest.importorskip("av", reason="MP4 needs the extra 'video'")
    made = compare_runs(_runs(tmp_path, 2, 3))
    keys = set.intersection(*({row.key for row in pair_run(run, None).rows} for run in made.runs.values()))
    assert write_sweeps(made, tmp_path / "out", film) == len(keys) == 2
    paths = [path for path in (tmp_path / "out/animation").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "out/animation").with_suffix("").as_posix() for path in paths} == keys
    if film == "webp":
        with Image.open(paths[0]) as shown:
            assert shown.width > 3 * 256, "the source and two runs"
