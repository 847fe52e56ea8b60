"""`ganinv invert`: faces to the generator's codes."""

from __future__ import annotations

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions, command
from ganinv_cli.running import run_verb
from pipelines.specs import InvertSpec


@command
def invert(spec: InvertSpec, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Find the generator's code of each face; writes the codes and the pictures that they give."""
    run_verb("invert", spec, weights, output, dry)
