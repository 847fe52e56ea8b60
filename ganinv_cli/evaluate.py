"""`ganinv evaluate`: figures and a report for what invert or edit wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from ganinv_cli.options import Cache, Machine, Voice, bundled, make_spec, values
from pipelines.errors import NoInputError, RequirementError

DEFAULT_RUNS = ("edits", "inversions")
METRICS = (
    *("lpips", "id", "lpips-alex", "lpips-st-alex", "id-arcface", "id-dlib"),
    *("same-person", "psnr", "ssim", "ms-ssim", "mse", "mse-outside", "attributes"),
    *("detail", "sharpness", "skin-tone", "ghost"),
    *("nscd", "lec", "lec-age", "lec-yaw", "lec-smile"),
)


def complete_metrics(incomplete: str) -> list[str]:
    """Shell completion of `--metrics`, a list with commas."""
    head, comma, last = incomplete.rpartition(",")
    taken = head.split(",")
    return [f"{head}{comma}{name}" for name in METRICS if name.startswith(last) and name not in taken]


def _score(*flags: str, text: str, **more: Any) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel="Evaluate", **more)


@dataclass(frozen=True)
class Scoring:
    """What to measure."""

    reference: Annotated[
        Path | None, _score(text="Compare with this folder's images, by key, not with the sources.")
    ] = None
    metrics: Annotated[
        list[str],
        _score(text=f"With commas, of: {', '.join(METRICS)}.", metavar="A,B", autocompletion=complete_metrics),
    ] = field(default_factory=list)
    report: Annotated[bool, _score("--report/--no-report", text="Write report.html.")] = True
    require: Annotated[
        list[str], _score(text='Exit 6 unless met, as "id>=0.5". Repeat for more.', metavar="METRIC>=X")
    ] = field(default_factory=list)


@bundled
def evaluate(
    scoring: Scoring,
    machine: Machine,
    cache: Cache,
    voice: Voice,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="What invert or edit wrote. Default: edits, else inversions.")
    ] = None,
) -> None:
    """Score a run against its sources: metrics.json, report.html and a table."""
    voice.apply()
    from ganinv_cli import console

    folder = run if run is not None else default_run(Path())
    metrics = tuple(name.strip() for text in scoring.metrics for name in text.split(",") if name.strip())
    chosen: dict[str, Any] = {"run": folder, "report": scoring.report, "require": tuple(scoring.require)}
    chosen |= {"metrics": metrics} if metrics else {}
    chosen |= {} if scoring.reference is None else {"reference": scoring.reference}
    with console.clean_stdout():
        from pipelines.evaluation.evaluate import EvaluateSpec, RequirementUnmet
        from pipelines.evaluation.evaluate import evaluate as score
        from pipelines.evaluation.pairing import run_folder

        spec = make_spec(EvaluateSpec, chosen | values(machine))
        unmet: RequirementError | None = None
        try:
            result = score(spec, cache.store(), on_progress=console.run_reporter("evaluate"))
        except RequirementUnmet as error:  # all was measured and written: show it first
            result, unmet = error.metrics, error
    show_result(result, run_folder(folder), scoring.report, voice.as_json)
    if unmet is not None:
        raise unmet


def default_run(here: Path) -> Path:
    """`edits` in the folder `here`, else `inversions`; raises NoInputError where there is neither."""
    for name in DEFAULT_RUNS:
        if (here / name).is_dir():
            return here / name
    raise NoInputError("there is no ./edits and no ./inversions here: run ganinv edit first, or name the run's folder")


def show_result(result: Mapping[str, Any], folder: Path, report: bool, as_json: bool) -> None:
    """The metrics object as JSON, or a row for each edit and metric."""
    from ganinv_cli import console

    if as_json:
        console.print_json(result)
        return
    rows = [row for edit, metrics in result["edits"].items() for row in _rows(edit, metrics)]
    console.table(["edit", "metric", "mean", "median", "n", "better"], rows)
    if report:
        console.note(f"report: {folder / 'report.html'}")


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
