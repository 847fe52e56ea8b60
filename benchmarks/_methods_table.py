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
from pipelines.stages.methods import methods

WAYS = {"composed": "Edits composed into the photo", "plain": "Edits as the codes alone make them (`--compose none`)"}
LIKENESS = ("mse", "lpips", "id", "id-dlib", "same-person", "detail")
EFFECT = ("passengers", "id", "id-dlib", "same-person", "mse-outside", "detail")  # means over the edits
START, END = "<!-- methods: written by `python -m benchmarks.methods`, not by hand -->", "<!-- methods end -->"
SECONDS = "s a face"
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


def write_tables(
    document: Path, work: Path, names: Sequence[str], edits: Sequence[Edit], about: str, keep: bool = False
) -> None:
    """Put the tables between the markers of `document`, and every figure into the .json beside it.

    Args:
        about: a sentence on the machine.
        keep: leave the figures that the .json has of other methods as they are; they must be of the same faces.

    Raises:
        ValueError: the document lacks a marker.
    """
    text, figures = document.read_text(encoding="utf-8"), document.with_suffix(".json")
    head, found, rest = text.partition(START)
    _, ended, tail = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"'{document}' needs the lines '{START}' and '{END}'")
    kept: list[Line] = []
    if keep:
        earlier, written = read_lines(figures)
        kept = [line for line in written if line.method not in names]
        about = f"{earlier} {', '.join(f'`{name}`' for name in names)}: {about[:1].lower()}{about[1:]}"
    labels = [edit.name for edit in edits]
    lines = [*kept, *_lines(Runs(work, names), names, labels)]
    body = "\n".join([about, "", *_drawn(lines, labels)]).rstrip()
    document.write_text(f"{head}{START}\n\n{body}\n\n{END}{tail}", encoding="utf-8")
    record = {"v": 1, "machine": about, "lines": [asdict(line) for line in lines]}
    figures.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_lines(figures: Path) -> tuple[str, list[Line]]:
    """What an earlier call wrote of its machine, and its figures."""
    body = json.loads(figures.read_text(encoding="utf-8"))
    return body["machine"], [Line(**{**row, "value": Interval(**row["value"])}) for row in body["lines"]]


def _lines(runs: Runs, names: Sequence[str], edits: Sequence[str]) -> Iterator[Line]:
    """Every figure of every method, of all faces that it was run on and of those that all share."""
    for keys, members in _sets(runs, names):
        for name in members:
            seconds = Interval(runs.seconds(name, keys), None, None)
            yield Line(len(keys), name, "composed", INVERSION, SECONDS, len(keys), seconds)
            asked = [("composed", [INVERSION], metric) for metric in _distinct(runs, LIKENESS)]
            for way in WAYS:
                asked += [(way, [edit], "moved") for edit in edits]
                asked += [(way, list(edits), metric) for metric in _distinct(runs, EFFECT)]
            for way, of, metric in asked:
                line = runs.line(name, way, of, metric, keys)
                if line is not None:
                    yield line


def _sets(runs: Runs, names: Sequence[str]) -> Iterator[tuple[frozenset[str], list[str]]]:
    """Faces and the methods that were run on all of them, the largest set first; the last is what all methods share."""
    known = {runs.keys(name) for name in names} | {frozenset.intersection(*(runs.keys(name) for name in names))}
    for keys in sorted(known, key=lambda keys: (-len(keys), sorted(keys))):
        yield keys, [name for name in names if runs.keys(name) >= keys]


def _drawn(lines: Sequence[Line], edits: Sequence[str]) -> Iterator[str]:
    """The tables, in Markdown: a chapter for each number of faces."""
    known = {(line.faces, line.method, line.way, line.edit, line.metric): line.value for line in lines}
    for faces in sorted({line.faces for line in lines}, reverse=True):
        here = [line for line in lines if line.faces == faces]
        names = sorted({line.method for line in here}, key=_place)
        yield from (f"## {faces} faces: {', '.join(f'`{name}`' for name in names)}", "")
        shown = list(dict.fromkeys(line.metric for line in here if line.edit == INVERSION))
        yield from ("Inversions; seconds are of the whole face, its three composed edits included.", "")
        rows = [[f"`{m}`", *(_cell(known.get((faces, m, "composed", INVERSION, x))) for x in shown)] for m in names]
        yield from _table(["method", *shown], rows)
        shown = list(dict.fromkeys(line.metric for line in here if line.edit == "edits"))
        columns = [*((edit, "moved") for edit in edits), *(("edits", metric) for metric in shown)]
        for way, title in WAYS.items():
            yield from (f"{title}.", "")
            rows = [[f"`{m}`", *(_cell(known.get((faces, m, way, *column))) for column in columns)] for m in names]
            yield from _table(["method", *(f"{edit} moved" for edit in edits), *shown], rows)


def _place(name: str) -> tuple[bool, int | str]:
    """Methods in their own order; others, of plugins, after them."""
    order = methods.names()
    return (False, order.index(name)) if name in order else (True, name)


def _distinct(runs: Runs, metrics: Sequence[str]) -> list[str]:
    """Full names, each once: a short name may mean one that is named as well."""
    return list(dict.fromkeys(runs.full(metric) for metric in metrics))


def _cell(value: Interval | None) -> str:
    """Mean and half the interval."""
    if value is None:
        return DASH
    if value.low is None or value.high is None or not math.isfinite(value.mean):
        return f"{value.mean:.3g}"
    return f"{value.mean:.3g} ± {(value.high - value.low) / 2:.1g}"


def _seconds(run: Path) -> dict[str, float]:
    """key -> seconds of all its stages."""
    records: Mapping[str, Any] = read_manifest(run)
    return {key: sum(record.ms.values()) / 1000 for key, record in records.items() if record.ms}


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (headers, ["---"] * len(headers), *rows)] + [""]
