"""`ganinv align`: photos to upright square face crops."""

from __future__ import annotations

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions, command
from ganinv_cli.running import run_verb
from pipelines.specs import AlignSpec


@command
def align(spec: AlignSpec, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Find the faces in photos and crop them upright, as FFHQ does: what invert and edit work on."""
    run_verb("align", spec, weights, output, dry)
