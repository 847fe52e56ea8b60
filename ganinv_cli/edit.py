"""`ganinv edit`: faces, or photos, to edited faces in one stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions, command
from ganinv_cli.running import run_verb
from pipelines.errors import UsageError
from pipelines.specs import EditSpec

if TYPE_CHECKING:
    from pipelines.stages.edit.directions import DirectionInfo

LEAK_SHOWN = 0.15  # deviations per unit; what leaks less is not worth a reader's time
SHOWN = 4  # passengers of one attribute in the table; --json has them all


@dataclass(frozen=True)
class ListAttributes:
    """Nothing but a list, or a sheet."""

    list_attrs: Annotated[
        bool, typer.Option("--list-attrs", help="Print the attributes and exit.", rich_help_panel="Edit")
    ] = False
    chart: Annotated[
        Path | None,
        typer.Option(
            "--chart",
            metavar="FACE",
            help="Draw every attribute at -2 to +2 on this face, and exit.",
            rich_help_panel="Edit",
        ),
    ] = None


@command
def edit(spec: EditSpec, listing: ListAttributes, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Edit faces: smile, age, pose. Inverts whatever has no current codes yet; --align takes photos directly."""
    if listing.list_attrs:
        output.apply()
        show_attributes(output.as_json)
        return
    if listing.chart is not None:
        output.apply()
        show_chart(spec, listing.chart, weights, output.as_json)
        return
    if not spec.edits and not spec.like and spec.plan is None:
        raise UsageError(
            "nothing to edit: give --attr, for example --attr smile=+2, or --plan (--list-attrs names them all)"
        )
    output.apply()
    run_verb("edit", spec, weights, output, dry)


def show_chart(spec: EditSpec, face: Path, weights: WeightOptions, as_json: bool) -> None:
    """Draw the chart, and say where it is."""
    from ganinv_cli import console

    store = weights.store()
    with console.clean_stdout():
        from pipelines.evaluation.chart import write_chart

        path = write_chart(spec, face, store)
    if as_json:
        console.print_json({"chart": str(path)})
    else:
        console.table(["chart"], [[path]])


def show_attributes(as_json: bool) -> None:
    """The shipped attributes on stdout: what + means, how far it was measured, and what changes along with it."""
    from ganinv_cli import console

    with console.clean_stdout():
        from pipelines.stages.edit.directions import list_directions

        known = list_directions()
    if as_json:
        console.print_json({"attributes": [asdict(each) for each in known]})
        return
    heads = ["--attr", "strengths", "deviation", "what + does", "comes along", "person at -1, +1", "way", "rows"]
    console.table(heads, [_attribute_row(each) for each in known])
    console.note("a strength of 1 = about one deviation over the generator's faces; comes along: deviations per unit;")
    console.note(
        "person: likeness of the composed photo, 1 the same, .5 dlib's limit. Amounts: age=+10y, yaw:=0, smile:=1"
    )


def _attribute_row(each: DirectionInfo) -> list[str]:
    leaks = sorted(each.leakage.items(), key=lambda leak: -abs(leak[1]))
    leaking = ", ".join(f"{name} {share:+.2f}" for name, share in leaks[:SHOWN] if abs(share) >= LEAK_SHOWN)
    persons = [each.identity.get(strength) for strength in ("-1", "+1")]
    return [
        each.name,
        f"{each.range[0]:+g} to {each.range[1]:+g}",
        f"{each.std:.3g} {each.unit}".rstrip(),
        each.description.partition(";")[0],
        leaking or "-",
        ", ".join("-" if person is None else f"{person:.2f}" for person in persons),
        each.way or "-",
        f"{each.layers[0]}-{each.layers[1]}",
    ]
