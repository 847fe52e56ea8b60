"""Several evaluated runs side by side: one table, with paired bootstrap intervals.

Only what `evaluate` wrote is read, and only faces that every run has a value of are compared, so that no run gains by a
face that another one lost.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import UsageError
from pipelines.evaluation.pairing import run_folder
from pipelines.evaluation.written import find_metrics
from pipelines.metrics.summary import Better

F64Array = npt.NDArray[np.float64]
RESAMPLES = 2000
SURE = 0.95  # share of resamples that an interval holds
_AT_ONCE = 4_000_000  # numbers drawn at a time, so that memory does not depend on how many faces there are


@dataclass(frozen=True)
class Interval:
    """A mean over n faces, with its bootstrap interval; None where fewer than two faces leave nothing to resample."""

    mean: float
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether it is more than noise that the mean is not 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Line:
    """One metric of one edit in all runs.

    Attributes:
        n: faces that every run which knows this metric has a value of.
        values: one per run; None where the run lacks edit or metric.
        differences: to the first run that has it, over the same faces; None for that run itself.
    """

    edit: str
    metric: str
    better: Better
    n: int
    values: Sequence[Interval | None]
    differences: Sequence[Interval | None]


@dataclass(frozen=True)
class Disagreement:
    """How far the runs lie apart in one picture, by the headline's metric: its values, by run, and their spread."""

    key: str
    edit: str
    spread: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """All runs by name, all lines, what a reader must know, and where the runs disagree, most first."""

    runs: Mapping[str, Path]
    lines: Sequence[Line]
    notes: Sequence[str]
    headline: str
    disagreements: Sequence[Disagreement]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "v": 1,
            "runs": list(self.runs),
            "lines": [asdict(line) for line in self.lines],
            "notes": list(self.notes),
            "headline": self.headline,
            "disagreements": [asdict(each) for each in self.disagreements],
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headers and cells as a person reads them; a star marks what differs from the first run by more than noise."""
        rows = [
            [line.edit, line.metric, line.better, str(line.n), *map(_cell, line.values, line.differences)]
            for line in self.lines
        ]
        return ["edit", "metric", "better", "n", *self.runs], rows

    def markdown(self) -> str:
        """The table for a document."""
        headers, rows = self.table()
        lines = [headers, ["---"] * len(headers), *rows]
        return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)

    def csv(self) -> str:
        """One row per edit, metric and run, with full precision."""
        made = io.StringIO()
        writer = csv.writer(made, lineterminator="\n")
        writer.writerow(["edit", "metric", "run", "n", "mean", "low", "high", "difference", "low", "high"])
        for line in self.lines:
            for name, value, difference in zip(self.runs, line.values, line.differences, strict=True):
                if value is not None:
                    writer.writerow([line.edit, line.metric, name, line.n, *_numbers(value), *_numbers(difference)])
        return made.getvalue()


def compare_runs(runs: Sequence[Path], resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare what `evaluate` measured in each run.

    Args:
        runs: folders (or archives) as `evaluate` takes them, at least two; the first is what the others are compared with.
        resamples: of the faces, for the intervals.
        seed: of the resamples.

    Raises:
        UsageError: fewer than two runs, one named twice, one without metrics.json, or nothing in common.
    """
    folders = [run_folder(run) for run in runs]
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("compare takes two or more different runs")
    bodies = [find_metrics(folder) for folder in folders]
    names = _names(folders)
    lines = [_line(edit, metric, bodies, resamples, seed) for edit, metric in _common(bodies)]
    if not lines:
        raise UsageError("these runs have no metric of one edit in common; evaluate them with the same --metrics")
    headline = next((line.metric for line in lines if line.better != "none"), lines[0].metric)
    return Comparison(
        dict(zip(names, folders, strict=True)),
        lines,
        _notes(names, bodies),
        headline,
        _disagreements(headline, dict(zip(names, bodies, strict=True))),
    )


def bootstrap(values: F64Array, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Means of columns with percentile intervals, by resampling rows: the same faces are drawn for every column.

    Args:
        values: n x m, finite.
    """
    count = len(values)
    means = values.mean(0)
    if count < 2:
        return [Interval(float(mean), None, None) for mean in means]
    draws, chunk = np.random.default_rng(seed), max(1, _AT_ONCE // values.size)
    drawn = [
        values[draws.integers(0, count, (min(chunk, resamples - start), count))].mean(1)
        for start in range(0, resamples, chunk)
    ]
    low, high = np.quantile(np.concatenate(drawn), ((1 - SURE) / 2, (1 + SURE) / 2), axis=0)
    return [Interval(float(m), float(lo), float(hi)) for m, lo, hi in zip(means, low, high, strict=True)]


def _line(edit: str, metric: str, bodies: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Line:
    columns = [_values(body, edit, metric) for body in bodies]
    known = [index for index, column in enumerate(columns) if column]
    keys = sorted(set.intersection(*(set(columns[index]) for index in known)))
    values: list[Interval | None] = [None] * len(bodies)
    differences: list[Interval | None] = [None] * len(bodies)
    if keys:
        table = np.array([[columns[index][key] for index in known] for key in keys])
        both = bootstrap(np.concatenate([table, table - table[:, :1]], axis=1), resamples, seed)
        for place, index in enumerate(known):
            values[index] = both[place]
            differences[index] = both[len(known) + place] if place else None
    better = bodies[known[0]]["metrics"][metric.split(".")[0]]["better"]
    return Line(edit, metric, better, len(keys), values, differences)


def _values(body: Mapping[str, Any], edit: str, metric: str) -> dict[str, float]:
    """key -> value, measured ones alone."""
    group, _, part = metric.partition(".")
    found = {}
    for key, edits in body["images"].items():
        value = edits.get(edit, {}).get(group)
        value = value.get(part) if part and isinstance(value, Mapping) else value
        if isinstance(value, int | float) and math.isfinite(value):
            found[key] = float(value)
    return found


def _common(bodies: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(edit, metric) that at least two runs have, in the order of the first."""
    have: dict[tuple[str, str], int] = {}
    for body in bodies:
        for edit, figures in body["edits"].items():
            for name, figure in figures.items():
                if "spread" in figure:  # one figure of all pictures: there is nothing to pair
                    continue
                parts = [""] if "n" in figure else [f".{part}" for part in figure]
                for part in parts:
                    have[edit, name + part] = have.get((edit, name + part), 0) + 1
    return (pair for pair, count in have.items() if count > 1)


def _disagreements(metric: str, bodies: Mapping[str, Mapping[str, Any]]) -> list[Disagreement]:
    """Pictures by how far apart the runs' values of a metric lie, the furthest first."""
    found = []
    for edit in dict.fromkeys(edit for body in bodies.values() for edit in body["edits"]):
        columns = {name: column for name, body in bodies.items() if (column := _values(body, edit, metric))}
        for key in set.intersection(*map(set, columns.values())) if len(columns) > 1 else ():
            values = {name: column[key] for name, column in columns.items()}
            found.append(Disagreement(key, edit, max(values.values()) - min(values.values()), values))
    return sorted(found, key=lambda each: (-each.spread, each.key, each.edit))


def _notes(names: Sequence[str], bodies: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = {name: body["count"] for name, body in zip(names, bodies, strict=True)}
    notes = []
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        notes.append(f"runs of different size ({told} faces): only faces that all have are compared")
    if len({bool(body.get("reference")) for body in bodies}) > 1:
        notes.append("some runs were compared with --reference, others with their own sources")
    return notes


def _names(folders: Sequence[Path]) -> list[str]:
    """As short as tells them apart."""
    for depth in range(1, 20):
        names = ["/".join(folder.resolve().parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _cell(value: Interval | None, difference: Interval | None) -> str:
    if value is None:
        return "–"
    reach = "" if value.low is None or value.high is None else f" ± {(value.high - value.low) / 2:.2g}"
    return f"{value.mean:.4g}{reach}{' *' if difference is not None and difference.excludes_zero else ''}"


def _numbers(value: Interval | None) -> list[float | None]:
    return [None, None, None] if value is None else [value.mean, value.low, value.high]
