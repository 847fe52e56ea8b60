"""`--require "id>=0.5"`: bounds that a run must keep, for scripts and continuous integration."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UsageError
from pipelines.metrics.summary import Scores
from pipelines.records.outputs import INVERSION

_LINE = re.compile(r"\s*(?:(?P<edit>\S+?)\s*:\s*)?(?P<metric>[\w.-]+)\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {"<=": float.__le__, ">=": float.__ge__}


@dataclass(frozen=True)
class Requirement:
    """A bound on the mean of a metric.

    Attributes:
        metric: name as the user wrote it, short or full; ``attributes.smile`` for one attribute's change.
        sign: ``<=`` or ``>=``.
        bound: the number, in the metric's own unit.
        edit: the edit that it speaks of; "" = the inversion, and for metrics of identity every edit too.
    """

    metric: str
    sign: str
    bound: float
    edit: str = ""

    def __str__(self) -> str:
        return f"{self.edit + ':' if self.edit else ''}{self.metric}{self.sign}{self.bound:g}"


def parse_requirement(text: str) -> Requirement:
    """Read ``METRIC>=NUMBER``, ``METRIC<=NUMBER`` or ``EDIT:METRIC>=NUMBER``.

    Raises:
        UsageError: anything else.
    """
    match = _LINE.fullmatch(text)
    try:
        bound = float(match["bound"]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise UsageError(f"--require '{text}' is not of the form METRIC>=NUMBER; write for example \"id>=0.5\"")
    return Requirement(match["metric"], match["sign"], bound, match["edit"] or "")


def check(requirement: Requirement, metric: str, every_edit: bool, scores: Scores) -> list[dict[str, Any]]:
    """Compare with the means. What has no value is unmet: a gate must not open because nothing was measured.

    Args:
        requirement: the bound.
        metric: full name of the metric that was used.
        every_edit: whether a requirement that names no edit speaks of the edits as well as of the inversion.
        scores: the values.

    Returns:
        One {"require", "metric", "edit", "value", "bound", "met"} per edit that the requirement speaks of.

    Raises:
        UsageError: the requirement names an edit that the run does not hold.
    """
    edits = scores.edits()
    if requirement.edit and requirement.edit not in edits:
        raise UsageError(f"--require '{requirement}': the run holds no '{requirement.edit}', only {', '.join(edits)}")
    if requirement.edit:
        edits = [requirement.edit]
    elif not every_edit and INVERSION in edits:
        edits = [INVERSION]
    return [_outcome(requirement, metric, edit, scores.figures(edit, metric)["mean"]) for edit in edits]


def _outcome(requirement: Requirement, metric: str, edit: str, value: float | None) -> dict[str, Any]:
    met = value is not None and _HOLDS[requirement.sign](float(value), requirement.bound)
    return {
        "require": str(requirement),
        "metric": metric,
        "edit": edit,
        "value": value,
        "bound": f"{requirement.sign}{requirement.bound:g}",
        "met": met,
    }


def sentence(outcome: Mapping[str, Any]) -> str:
    """One sentence for a person about a bound that was not kept."""
    value = "could not be measured" if outcome["value"] is None else f"is {outcome['value']:.4g}"
    return f"{outcome['metric']} of '{outcome['edit']}' {value}, but {outcome['bound']} is required"
