"""The verb `evaluate`: read what a run wrote, score it, write metrics.json, report.html and contact.png.

Only numbers and the report's thumbnails are kept, so memory does not depend on how many faces there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pipelines import plugins
from pipelines.devices import resolve_device
from pipelines.engine.events import OnEvent, ProgressEvent
from pipelines.errors import NoInputError, RequirementError, UsageError
from pipelines.evaluation.contact_sheet import contact_sheet
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import Pairing, own_files, pair_run, run_folder
from pipelines.evaluation.report import Report, render_report
from pipelines.evaluation.round_trip import with_returns
from pipelines.evaluation.run_latents import RunCodes, is_composed, says_how
from pipelines.evaluation.scoring import Evaluation
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.evaluation.suite import picture_formats, suite_metrics, suite_table
from pipelines.evaluation.written import CONTACT, REPORT, choose_folder, write_papers
from pipelines.images.pixels import encode
from pipelines.metrics.faces import Locate
from pipelines.metrics.registry import (
    SHORT,
    build_code_metrics,
    build_metrics,
    build_set_metrics,
    check_names,
    of_kind,
    resolve,
)
from pipelines.metrics.registry import metrics as known
from pipelines.metrics.round_trip import ROUND_TRIP
from pipelines.metrics.summary import Scores
from pipelines.metrics.thresholds import Requirement, check, parse_requirement, sentence
from pipelines.metrics.tools import Tools
from pipelines.records.manifest import has_manifest
from pipelines.records.outputs import INVERSION
from pipelines.stages.align.aligner import locate
from pipelines.stages.edit.directions import attribute_scales
from pipelines.types import F32Array, U8Image
from pipelines.weights.store import WeightStore

_SHEET_ROWS, _SHEET_EDITS = 8, 6
T = TypeVar("T")


class RequirementUnmet(RequirementError):
    """A bound was not kept. Everything has been written all the same; `metrics` is the object of metrics.json."""

    def __init__(self, message: str, metrics: dict[str, Any]) -> None:
        super().__init__(message)
        self.metrics = metrics


def evaluate(spec: EvaluateSpec, store: WeightStore, on_progress: OnEvent | None = None) -> dict[str, Any]:
    """Score a run against its sources and write the result into its folder.

    For every edit (the inversion is one of them) and metric: mean, median, n (the values that could be measured),
    better; the five worst pictures; every picture's value; what could not be judged and why.

    Args:
        spec: what to evaluate.
        store: where weights come from.
        on_progress: told after every face.

    Returns:
        The object of metrics.json, and ``folder``, where it lies.

    Raises:
        UsageError: an unknown metric, a bad bound, a folder that is no run, or has no codes for a metric of codes.
            Before any model is loaded.
        NoInputError: nothing to compare, or not one pair could be judged.
        WeightsError: weights that cannot be had.
        RequirementError: a bound was not kept, or pictures are missing that it speaks of (a `RequirementUnmet`).
        OutputError: the results cannot be written.
    """
    plugins.load(spec.plugins)
    requirements = [parse_requirement(text) for text in spec.require]
    asked = list(dict.fromkeys([*spec.metrics, *(r.metric.split(".")[0] for r in requirements)]))
    check_names(asked)
    device = resolve_device(spec.device)
    spec = spec.model_copy(update={"run": run_folder(spec.run)})
    pairing = pair_run(spec.run, spec.reference)
    folder = choose_folder(spec.run, not has_manifest(spec.run), own_files(pairing))
    in_suite, left_out = _suite(spec, pairing)
    asked = list(dict.fromkeys([*asked, *in_suite]))
    tools = Tools(store, device, scales=attribute_scales())
    locator = _Locator(tools)
    remarks = [*left_out, *_open_codes(spec, asked, pairing, tools, locator)]
    names, notes = resolve(asked, store)
    evaluation = _built(spec, names, tools, locator, on_progress)
    if set(ROUND_TRIP) & set(names):
        pairing, lost = with_returns(pairing, spec.run, spec.device, store, on_progress)
        remarks += lost
    _tell(on_progress, remarks)
    evaluation.run(pairing, spec.batch_size, max(1, spec.num_workers))
    if not len(evaluation.scores):
        first = evaluation.problems[0]
        raise NoInputError(f"not one pair could be judged, for example '{first.key}': {first.reason}")
    outcomes = [o for r in requirements for o in _check(r, names, evaluation.scores)]
    made = evaluation.result(spec.reference is not None, pairing.unused, [*notes, *remarks], outcomes)
    if spec.suite:
        made["suite"] = _suite_body(evaluation, pairing, {name: names[name] for name in in_suite})
    _tell(on_progress, [note for note in made["notes"] if note not in remarks])
    made = write_papers(folder, made, _papers(made, evaluation, pairing) if spec.report else {})
    made["folder"] = str(folder)
    unmet = [sentence(outcome) for outcome in outcomes if not outcome["met"]]
    if requirements and evaluation.missing and not spec.allow_missing:
        unmet.append(f"{pictures(evaluation.missing)} could not be judged; --allow-missing asks it of the others alone")
    if unmet:
        raise RequirementUnmet("; ".join(unmet), made)
    return made


def _suite(spec: EvaluateSpec, pairing: Pairing) -> tuple[list[str], list[str]]:
    """The metrics that --suite asks for, and sentences on what it leaves out."""
    if not spec.suite:
        return [], []
    edits = any(edit != INVERSION for row in pairing.rows for edit in row.results)
    told = says_how(spec.run)
    round_trip = told and edits and spec.round_trip and spec.reference is None
    return suite_metrics(told and any(row.latents for row in pairing.rows), round_trip)


def _suite_body(evaluation: Evaluation, pairing: Pairing, names: Mapping[str, str]) -> dict[str, Any]:
    formats = {
        "sources": picture_formats(row.source for row in pairing.rows),
        "results": picture_formats(place for row in pairing.rows for place in row.results.values()),
    }
    return {"formats": formats, **suite_table(evaluation.scores, names)}


def _built(
    spec: EvaluateSpec, names: Mapping[str, str], tools: Tools, locator: Locate, on_progress: OnEvent | None
) -> Evaluation:
    """The evaluation with all its metrics loaded."""
    full = list(names.values())
    return Evaluation(
        build_metrics(full, tools),
        tools.device,
        locator,
        on_progress,
        spec.report,
        build_code_metrics(full, tools),
        tools.store.config.offline,
        build_set_metrics(full, tools),
        is_composed(spec.run),
    )


def pictures(count: int) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{count} picture" if count == 1 else f"{count} pictures"


def _tell(on_progress: OnEvent | None, sentences: Iterable[str]) -> None:
    if on_progress is not None:
        for text in sentences:
            on_progress(ProgressEvent("warning", 0, 0, 0, 0, message=text))


class _Locator:
    """Landmarks of a face; the finder's weights are asked for only when a metric wants landmarks."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def __call__(self, image: U8Image) -> F32Array:
        return locate(image, self._tools.finder)


def _open_codes(spec: EvaluateSpec, asked: Iterable[str], pairing: Pairing, tools: Tools, locate: Locate) -> list[str]:
    """Where a metric of codes is asked for, find out what made the run's codes; gives sentences for the person.

    Raises:
        UsageError: the run has no codes, or does not say what made them.
    """
    latent = of_kind("latent", [SHORT.get(name, (name,))[-1] for name in asked])
    if not latent:
        return []
    if not any(row.latents for row in pairing.rows):
        raise UsageError(
            f"'{spec.run}' holds no codes, which {latent[0]} needs; give a folder that invert or edit wrote"
        )
    codes = RunCodes(spec.run, tools.store, tools.device, locate)
    tools.run_codes = codes
    slow = [name for name in latent if name.startswith("lec-") and "optimize" in codes.embedder_name]
    return [
        f"{name} embeds every face again with '{codes.embedder_name}': as slow as inverting them was" for name in slow
    ]


def _check(requirement: Requirement, names: dict[str, str], scores: Scores) -> list[dict[str, Any]]:
    """A requirement against the metric that was used; a short name means the full-name metric."""
    group, dot, part = requirement.metric.partition(".")
    full = names[group]
    return check(requirement, full + dot + part, known.get(full).of_edits, scores)


def _papers(made: Mapping[str, Any], evaluation: Evaluation, pairing: Pairing) -> dict[str, bytes]:
    """The report and the contact sheet, by name."""
    worst = evaluation.worst
    page = render_report(Report(made, worst.rows(), worst.seen, evaluation.headline))
    return {REPORT: page, CONTACT: encode(_sheet(evaluation, pairing), "png")}


def _sheet(evaluation: Evaluation, pairing: Pairing) -> U8Image:
    """A few faces from the worst to the best, read again, with the source, the inversion and a few edits."""
    order = sorted(evaluation.goodness.items(), key=lambda pair: (not math.isnan(pair[1]), pair[1], pair[0]))
    by_key = {row.key: row for row in pairing.rows}
    edits = [edit for edit in evaluation.scores.edits() if edit != INVERSION]
    columns = [INVERSION] * (INVERSION in evaluation.scores.edits()) + _spread(edits, _SHEET_EDITS)
    lines = []
    for key, _ in _spread(order, _SHEET_ROWS):
        loaded = load_row(by_key[key])
        pictures = [loaded.source, *(loaded.results.get(edit) for edit in columns)]
        lines.append((_label(key, evaluation), [picture.image if picture else None for picture in pictures]))
    return contact_sheet(lines, ["source", *columns])


def _label(key: str, evaluation: Evaluation) -> str:
    """The key, and below it the headline's value of each picture."""
    by_edit, metric = evaluation.scores.of(key), evaluation.headline
    told = [
        f"{edit} {values[metric]:.2f}"
        for edit, values in by_edit.items()
        if math.isfinite(values.get(metric, math.nan))
    ]
    return f"{key}\n{metric}: {', '.join(told)}" if told else key


def _spread(values: list[T], count: int) -> list[T]:
    """Up to `count` of the values, evenly spaced, the first and the last among them."""
    if len(values) <= count:
        return values
    return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]
