"""What align, invert and edit have in common: plan or run, then say what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions

if TYPE_CHECKING:
    from pipelines.engine.events import RunSummary
    from pipelines.specs import AlignSpec


def run_verb(verb: str, spec: AlignSpec, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Run `verb` (a function of `pipelines.api`), or plan it; print the result; exit with the run's code.

    Raises:
        typer.Exit: with the run's exit code (0, 3 or 4).
        GanInvError: a mistake of the user, missing weights, an output that cannot be written.
    """
    from ganinv_cli import console, process

    output.apply()
    store = weights.store()
    with console.clean_stdout():
        with process.loading():
            from pipelines import api

        if dry.dry_run:
            plan: Mapping[str, Any] | None = api.plan(spec, store)
        else:
            plan = None
            summary: RunSummary = getattr(api, verb)(spec, store, on_event=console.run_reporter(verb))
    if plan is not None:
        show_plan(plan, output.as_json)
        return
    show_summary(summary, output.as_json)
    raise typer.Exit(summary.exit_code)


def show_plan(plan: Mapping[str, Any], as_json: bool) -> None:
    """The plan of a dry run: one JSON object, or a table of two columns."""
    from ganinv_cli import console

    if as_json:
        console.print_json(plan)
    else:
        console.table(["plan", ""], [[name, _plain(value)] for name, value in plan.items()])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        if set(value) == {"name", "cached"}:
            return f"{value['name']} ({'cached' if value['cached'] else 'to fetch'})"
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(inner) for inner in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def show_summary(summary: RunSummary, as_json: bool) -> None:
    """The counts of a run on stdout; why items failed, and whether anything was left to do, on stderr."""
    from ganinv_cli import console

    if summary.skipped and summary.skipped == summary.total:
        console.note(f"nothing to do: all {summary.total} items in {summary.output} are done already")
    if summary.failures:
        reasons = ", ".join(f"{count} {code}" for code, count in sorted(summary.failures.items()))
        console.say(f"{summary.failed} failed ({reasons}): see {summary.output}/manifest.jsonl for each one's reason")
    if not summary.complete:
        console.say("stopped early: run the same command again to go on")
    if as_json:
        console.print_json(summary.as_dict())
    else:
        headers = ["ok", "failed", "done before", "total", "seconds", "output"]
        row = [summary.ok, summary.failed, summary.skipped, summary.total, round(summary.seconds, 1), summary.output]
        console.table(headers, [row])
