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
    if not spec.edits:
        raise UsageError("nothing to edit: give --attr, for example --attr smile=+2 (--list-attrs names them all)")
    run_verb("edit", spec, weights, output, dry)


def show_attributes(as_json: bool) -> None:
    """The shipped attributes on stdout: what +1 means, the calibrated range, and what changes along with each."""
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
        leaking = ", ".join(f"{name} {share:+.2f}" for name, share in leaks if abs(share) >= LEAK_SHOWN)
        span = f"{each.range[0]:+g} to {each.range[1]:+g}"
        rows.append([each.name, each.description, span, each.std, f"{each.layers[0]}-{each.layers[1]}", leaking or "-"])
    console.table(["attribute", "means", "range", "+1 is", "rows", "changes too, per unit"], rows)
