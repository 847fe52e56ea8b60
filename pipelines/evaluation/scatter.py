"""Distortion against editability: one point a run, as a drawing (SVG) for the comparison's page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.evaluation.compare import Comparison, Interval, Line
from pipelines.records.outputs import INVERSION

DISTORTIONS = ("lpips-alex", "lpips-st-alex", "lpips", "mse")  # the first that all runs have is drawn
WIDTH, HEIGHT = 640.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 24.0, 20.0, 48.0
_EDIT = re.compile(r"([^,]+?)([+-]\d+(?:\.\d+)?)")  # of one attribute, as `edits.make_edit` names it
_ROOM = 0.12  # of the range, free at each end

Unit = Callable[[str, str], float]
"""Edit and metric -> by what the metric's value is divided; 0: it is no measure of editability."""


@dataclass(frozen=True)
class Mark:
    """A run's place in the drawing, px: its point, and the ends of its intervals."""

    run: str
    x: float
    y: float
    across: tuple[float, float]
    down: tuple[float, float]


@dataclass(frozen=True)
class Scatter:
    """What is drawn: runs, and tick labels at their places. `distortion` names the metric of the horizontal axis."""

    marks: Sequence[Mark]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    distortion: str
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class _Axis:
    """From values to pixels; `start` is where the least value lies."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        values = [self.low + (self.high - self.low) * step / 4 for step in range(5)]
        return [(self.place(value), f"{value:.3g}") for value in values]


def scatter_of(comparison: Comparison) -> Scatter | None:
    """The drawing; None where fewer than two runs have both figures.

    Distortion is the inversion's distance to the source. Editability is how far an edit moved what it asked for, in
    standard deviations for each unit of its strength, as a mean over the edits: the metric `moved` where two runs have it,
    else `attributes`, of edits of one attribute alone.
    """
    distortion = next((line for name in DISTORTIONS for line in _lines(comparison, INVERSION, name)), None)
    if distortion is None:
        return None
    points = next((found for unit in (_moved, _asked) if len(found := _points(comparison, distortion, unit)) > 1), None)
    if points is None:
        return None
    x = _axis([across for across, _ in points.values()], _LEFT, WIDTH - _RIGHT)
    y = _axis([down for _, down in points.values()], HEIGHT - _BOTTOM, _TOP)
    marks = [
        Mark(run, x.place(across.mean), y.place(down.mean), _ends(x, across), _ends(y, down))
        for run, (across, down) in points.items()
    ]
    return Scatter(marks, x.ticks(), y.ticks(), distortion.metric)


def _lines(comparison: Comparison, edit: str, metric: str) -> list[Line]:
    return [
        line
        for line in comparison.lines
        if (line.edit, line.metric) == (edit, metric) and all(value is not None for value in line.values)
    ]


def _points(comparison: Comparison, distortion: Line, unit: Unit) -> dict[str, tuple[Interval, Interval]]:
    """Distortion and editability of the runs that have both."""
    found = {}
    for index, run in enumerate(comparison.runs):
        across, down = distortion.values[index], _editability(comparison, index, unit)
        if across is not None and down is not None:
            found[run] = across, down
    return found


def _editability(comparison: Comparison, index: int, unit: Unit) -> Interval | None:
    """A run's mean over its edits; the interval is the mean of the edits' intervals, which is wider than their mean's."""
    found = []
    for line in comparison.lines:
        value, strength = line.values[index], unit(line.edit, line.metric)
        if strength and value is not None:
            bounds = [value.mean if each is None else each for each in (value.low, value.high)]
            found.append(sorted(each / strength for each in bounds) + [value.mean / strength])
    if not found:
        return None
    low, high, mean = (sum(column) / len(found) for column in zip(*found, strict=True))
    return Interval(mean, low, high)


def _moved(edit: str, metric: str) -> float:
    """1 for `moved`, which is for each unit already."""
    return float(metric == "moved")


def _asked(edit: str, metric: str) -> float:
    """The strength by which the edit asked for the attribute that the metric measures; 0: it did not, or others too."""
    group, _, attribute = metric.partition(".")
    found = _EDIT.fullmatch(edit)
    return float(found[2]) if group == "attributes" and found and found[1] == attribute else 0.0


def _axis(values: Sequence[Interval], start: float, end: float) -> _Axis:
    ends = [each for value in values for each in (value.mean, value.low, value.high) if each is not None]
    low, high = min(ends), max(ends)
    room = _ROOM * (high - low) or abs(low) * _ROOM or 1.0
    return _Axis(low - room, high + room, start, end)


def _ends(axis: _Axis, value: Interval) -> tuple[float, float]:
    low, high = (value.mean if each is None else each for each in (value.low, value.high))
    return axis.place(low), axis.place(high)
