"""`ganinv evaluate`: figures and a report for what invert or edit wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from ganinv_cli.options import OutputOptions, WeightOptions, command
from pipelines.errors import RequirementError
from pipelines.evaluation.specs import EvaluateSpec


@command
def evaluate(spec: EvaluateSpec, weights: WeightOptions, output: OutputOptions) -> None:
    """Score a run against its sources: metrics.json, report.html and a table."""
    output.apply()
    from ganinv_cli import console, process

    with console.clean_stdout():
        with process.loading():
            from pipelines.evaluation.evaluate import RequirementUnmet, pictures
            from pipelines.evaluation.evaluate import evaluate as score

        unmet: RequirementError | None = None
        try:
            result = score(spec, weights.store(), on_progress=console.run_reporter("evaluate"))
        except RequirementUnmet as error:  # all was measured and written: show it first
            result, unmet = error.metrics, error
    show_result(result, output.as_json)
    if unmet is not None:
        raise unmet
    if result["missing"] and not spec.allow_missing:
        console.say(f"{pictures(result['missing'])} could not be judged; --allow-missing takes the figures of the rest")
        raise typer.Exit(3)


def show_result(result: Mapping[str, Any], as_json: bool) -> None:
    """The metrics object as JSON; or a row for each edit and metric, of a suite with its intervals."""
    from ganinv_cli import console

    if as_json:
        console.print_json(result)
        return
    if "suite" in result:
        headers = ["part", "pictures", "metric", "mean", "low", "high", "n", "better"]
        console.table(headers, [_suite_row(line) for line in result["suite"]["lines"]])
        _tell_report(result)
        return
    rows = [row for edit, metrics in result["edits"].items() for row in _rows(edit, metrics)]
    console.table(["edit", "metric", "mean", "median", "n", "better"], rows)
    _tell_report(result)


def _tell_report(result: Mapping[str, Any]) -> None:
    from ganinv_cli import console

    if "report.html" in result["written"]:
        console.note(f"report: {Path(result['folder']) / 'report.html'}")


def _suite_row(line: Mapping[str, Any]) -> list[object]:
    columns = ("part", "edit", "metric", "mean", "low", "high", "n", "better")
    return [line[column] for column in columns]


def _rows(edit: str, metrics: Mapping[str, Any], prefix: str = "") -> list[list[object]]:
    rows: list[list[object]] = []
    for name, figures in metrics.items():
        if not isinstance(figures, Mapping):
            continue
        if "mean" in figures:
            shown = [figures.get(column) for column in ("mean", "median", "n", "better")]
            rows.append([edit, prefix + name, *shown])
        else:
            rows += _rows(edit, figures, f"{prefix}{name}.")
    return rows
