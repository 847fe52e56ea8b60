"""`ganinv edit`: faces, or photos, to edited faces in one stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from ganinv_cli.align import Output
from ganinv_cli.invert import Faces
from ganinv_cli.options import (
    Cache,
    Cropping,
    DryRun,
    Inverting,
    Machine,
    Pace,
    Voice,
    bundled,
    complete_attributes,
    make_spec,
    values,
)
from ganinv_cli.running import carry_out
from pipelines.errors import UsageError

LEAK_SHOWN = 0.15  # of the edited attribute's own change; what leaks less is not worth a reader's time


def _edit(*flags: str, text: str, **more: Any) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel="Edit", **more)


@dataclass(frozen=True)
class Editing:
    """What to change."""

    attr: Annotated[
        list[str],
        _edit(
            text="NAME=STRENGTH, as smile=+2; combine: smile=2,age=-1; sweep: smile=-2:2:1. Repeat for more edits.",
            metavar="NAME=S",
            autocompletion=complete_attributes,
        ),
    ] = field(default_factory=list)
    list_attrs: Annotated[bool, _edit("--list-attrs", text="Print the attributes and exit.")] = False
    latents: Annotated[Path | None, _edit(text="Folder whose current codes are used again.")] = None
    direction: Annotated[list[Path], _edit(text="A direction of your own, named as its file. Repeat for more.")] = (
        field(default_factory=list)
    )
    paste: Annotated[bool, _edit("--paste", text="Also put each edited face back into its photo.")] = False


@bundled
def edit(
    editing: Editing,
    inverting: Inverting,
    cropping: Cropping,
    machine: Machine,
    pace: Pace,
    cache: Cache,
    voice: Voice,
    dry: DryRun,
    input: Faces = Path("faces"),
    output: Output = Path("edits"),
) -> None:
    """Edit faces: smile, age, pose. Inverts whatever has no current codes yet; --align takes photos directly."""
    voice.apply()
    if editing.list_attrs:
        show_attributes(voice.as_json)
        return
    from pipelines.edits import parse_edits
    from pipelines.specs import EditSpec

    edits = parse_edits(editing.attr)
    if not edits:
        raise UsageError("nothing to edit: give --attr, for example --attr smile=+2 (--list-attrs names them all)")
    given = {"input": input, "output": output, "edits": edits, "paste": editing.paste}
    given |= {"direction_files": tuple(editing.direction)}
    given |= {} if editing.latents is None else {"latents": editing.latents}
    spec = make_spec(EditSpec, given | values(inverting, cropping, machine, pace))
    carry_out("edit", spec, cache.store(), voice, dry.dry_run)


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
