"""The figures of `benchmarks.methods`: from the runs' metrics.json and manifests to Markdown between markers, and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.edits import Edit
from pipelines.evaluation.compare import Interval, bootstrap
from pipelines.evaluation.written import find_metrics
from pipelines.records.manifest import read_manifest
from pipelines.records.outputs import INVERSION

WAYS = {"composed": "Edits composed into the photo", "plain": "Edits as the codes alone make them (`--compose none`)"}
LIKENESS = ("mse", "lpips", "id", "id-dlib", "same-person", "detail")
EFFECT = ("passengers", "id", "id-dlib", "same-person", "mse-outside", "detail")  # means over the edits
START, END = "<!-- methods: written by `python -m benchmarks.methods`, not by hand -->", "<!-- methods end -->"
DASH = "–"


@dataclass(frozen=True)
class Line:
    """One figure; `edit` is "inversion", an edit's name, or "edits": the mean over all of them, face by face."""

    faces: int
    method: str
    way: str
    edit: str
    metric: str
    n: int
    value: Interval


class Runs:
    """What both runs of each method measured.

    Args:
        work: the runs' folder.
        names: methods.
    """

    def __init__(self, work: Path, names: Sequence[str]) -> None:
        self.bodies = {(name, way): find_metrics(work / name / way) for name in names for way in WAYS}
        self._seconds = {name: _seconds(work / name / "composed") for name in names}

    def keys(self, name: str) -> frozenset[str]:
        """The faces that a method was run on."""
        return frozenset(self.bodies[name, "composed"]["images"])

    def seconds(self, name: str, keys: frozenset[str]) -> float:
        """Median over the faces."""
        return statistics.median(seconds for key, seconds in self._seconds[name].items() if key in keys)

    def line(self, name: str, way: str, edits: Sequence[str], metric: str, keys: frozenset[str]) -> Line | None:
        """The mean over faces that have a value, of the mean over `edits`; None where none has."""
        images, full = self.bodies[name, way]["images"], self.full(metric)
        rows = [[images[key].get(edit, {}).get(full) for edit in edits] for key in sorted(keys)]
        values = [statistics.fmean(row) for row in rows if all(isinstance(v, float | int) for v in row)]
        if not values:
            return None
        shown = edits[0] if len(edits) == 1 else "edits"
        return Line(len(keys), name, way, shown, full, len(values), bootstrap(np.array(values)[:, None])[0])

    def full(self, metric: str) -> str:
        """The metric that a short name meant; the same in all runs."""
        known = next(iter(self.bodies.values()))["metrics"]
        variants = {"lpips": ("lpips-alex", "lpips-st-alex"), "id": ("id-arcface", "id-dlib")}.get(metric, (metric,))
        return next(variant for variant in variants if variant in known)


def write_tables(document: Path, work: Path, names: Sequence[str], edits: Sequence[Edit], about: str) -> None:
    """Put the tables between the markers of `document`, and every figure into the .json beside it.

    Args:
        about: a sentence on the machine.

    Raises:
        ValueError: the document lacks a marker.
    """
    runs, labels = Runs(work, names), [edit.name for edit in edits]
    lines: list[Line] = []
    parts = [about, ""]
    for keys, members in _sets(runs, names):
        parts += [f"## {len(keys)} faces: {', '.join(f'`{name}`' for name in members)}", ""]
        parts += _inversions(runs, members, keys, lines)
        for way in WAYS:
            parts += _edits(runs, members, way, labels, keys, lines)
    text = document.read_text(encoding="utf-8")
    head, found, rest = text.partition(START)
    _, ended, tail = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"'{document}' needs the lines '{START}' and '{END}'")
    document.write_text(head + START + "\n\n" + "\n".join(parts).rstrip() + "\n\n" + END + tail, encoding="utf-8")
    body = {"v": 1, "machine": about, "lines": [asdict(line) for line in lines]}
    document.with_suffix(".json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def _sets(runs: Runs, names: Sequence[str]) -> Iterator[tuple[frozenset[str], list[str]]]:
    """Faces and the methods that were run on all of them, the largest set first; the last is what all methods share."""
    known = {runs.keys(name) for name in names} | {frozenset.intersection(*(runs.keys(name) for name in names))}
    for keys in sorted(known, key=lambda keys: (-len(keys), sorted(keys))):
        yield keys, [name for name in names if runs.keys(name) >= keys]


def _inversions(runs: Runs, names: Sequence[str], keys: frozenset[str], lines: list[Line]) -> list[str]:
    metrics = _distinct(runs, LIKENESS)
    rows = []
    for name in names:
        cells = [_cell(runs.line(name, "composed", [INVERSION], metric, keys), lines) for metric in metrics]
        rows.append([f"`{name}`", f"{runs.seconds(name, keys):.3g}", *cells])
    return [
        "Inversions; seconds are of the whole face, its three composed edits included.",
        "",
        *_table(["method", "s a face", *metrics], rows),
    ]


def _edits(
    runs: Runs, names: Sequence[str], way: str, edits: Sequence[str], keys: frozenset[str], lines: list[Line]
) -> list[str]:
    metrics = _distinct(runs, EFFECT)
    rows = []
    for name in names:
        moved = [_cell(runs.line(name, way, [edit], "moved", keys), lines) for edit in edits]
        cells = [_cell(runs.line(name, way, edits, metric, keys), lines) for metric in metrics]
        rows.append([f"`{name}`", *moved, *cells])
    return [f"{WAYS[way]}.", "", *_table(["method", *(f"{edit} moved" for edit in edits), *metrics], rows)]


def _distinct(runs: Runs, metrics: Sequence[str]) -> list[str]:
    """Full names, each once: a short name may mean one that is named as well."""
    return list(dict.fromkeys(runs.full(metric) for metric in metrics))


def _cell(line: Line | None, lines: list[Line]) -> str:
    """Mean and half the interval; keeps the line."""
    if line is None:
        return DASH
    lines.append(line)
    value = line.value
    if value.low is None or value.high is None or not math.isfinite(value.mean):
        return f"{value.mean:.3g}"
    return f"{value.mean:.3g} ± {(value.high - value.low) / 2:.1g}"


def _seconds(run: Path) -> dict[str, float]:
    """key -> seconds of all its stages."""
    records: Mapping[str, Any] = read_manifest(run)
    return {key: sum(record.ms.values()) / 1000 for key, record in records.items() if record.ms}


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (headers, ["---"] * len(headers), *rows)] + [""]
