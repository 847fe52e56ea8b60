"""`ganinv invert`: faces to the generator's codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganinv_cli.align import Output
from ganinv_cli.options import Cache, Cropping, DryRun, Inverting, Machine, Pace, Voice, bundled, make_spec, values
from ganinv_cli.running import carry_out

Faces = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Aligned faces (or photos, with --align): folder, image, list or -.")
]


@bundled
def invert(
    inverting: Inverting,
    cropping: Cropping,
    machine: Machine,
    pace: Pace,
    cache: Cache,
    voice: Voice,
    dry: DryRun,
    input: Faces = Path("faces"),
    output: Output = Path("inversions"),
) -> None:
    """Find the generator's code of each face; writes the codes and the pictures that they give."""
    voice.apply()
    from pipelines.specs import InvertSpec

    given = {"input": input, "output": output} | values(inverting, cropping, machine, pace)
    carry_out("invert", make_spec(InvertSpec, given), cache.store(), voice, dry.dry_run)
