"""`ganinv align`: photos to upright square face crops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganinv_cli.options import Cache, Cropping, DryRun, Machine, Pace, Voice, bundled, make_spec, values
from ganinv_cli.running import carry_out

Input = Annotated[Path, typer.Argument(metavar="INPUT", help="A folder, an image, a .txt list of paths, or - (stdin).")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]


@bundled
def align(
    input: Input,
    cropping: Cropping,
    machine: Machine,
    pace: Pace,
    cache: Cache,
    voice: Voice,
    dry: DryRun,
    output: Output = Path("faces"),
) -> None:
    """Find the faces in photos and crop them upright, as FFHQ does: what invert and edit work on."""
    voice.apply()
    from pipelines.specs import AlignSpec

    spec = make_spec(AlignSpec, {"input": input, "output": output} | values(cropping, machine, pace))
    carry_out("align", spec, cache.store(), voice, dry.dry_run)
