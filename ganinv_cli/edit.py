"""`ganinv edit`: faces, or photos, to edited faces in one stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions, command
from ganinv_cli.running import run_verb
from pipelines.errors import UsageError
from pipelines.specs import EditSpec

LEAK_SHOWN = 0.15  # of the edited attribute's own change; what leaks less is not worth a reader's time


@dataclass(frozen=True)
class ListAttributes:
    """Nothing but a list."""

    list_attrs: Annotated[
        bool, typer.Option("--list-attrs", help="Print the attributes and exit.", rich_help_panel="Edit")
    ] = False


@command
def edit(spec: EditSpec, listing: ListAttributes, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Edit faces: smile, age, pose. Inverts whatever has no current codes yet; --align takes photos directly."""
    if listing.list_attrs:
        output.apply()
        show_attributes(output.as_json)
        return
    if not spec.edits and not spec.like:
        raise UsageError("nothing to edit: give --attr, for example --attr smile=+2 (--list-attrs names them all)")
    output.apply()
    warn_of_strengths(spec)
    run_verb("edit", spec, weights, output, dry)


def warn_of_strengths(spec: EditSpec) -> None:
    """One warning for each attribute that goes farther than it was measured; the user's own directions have no range."""
    from ganinv_cli import console

    with console.clean_stdout():
        from pipelines.stages.edit.directions import beyond_range

        for sentence in beyond_range(spec.edits):
            console.note(f"warning: {sentence}")


def show_attributes(as_json: bool) -> None:
    """The shipped attributes on stdout: what + means, how far it was measured, and what changes along with it."""
    from ganinv_cli import console

    with console.clean_stdout():
        from pipelines.stages.edit.directions import list_directions

        known = list_directions()
    if as_json:
        console.print_json({"attributes": [asdict(each) for each in known]})
        return
    rows = []
    for each in known:
        leaks = sorted(each.leakage.items(), key=lambda leak: -abs(leak[1]))
        leaking = ", ".join(f"{name} {share:+.0%}" for name, share in leaks if abs(share) >= LEAK_SHOWN)
        span = f"{each.range[0]:+g} to {each.range[1]:+g}"
        rows.append([each.name, span, each.description.partition(";")[0], leaking or "-"])
    console.table(["--attr", "strengths", "what + does", "changes too"], rows)
    console.note("1 = one standard deviation over the generator's faces; rows, sizes and all leaks: --json")
