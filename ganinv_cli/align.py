"""`ganinv align`: photos to upright square face crops."""

from __future__ import annotations

from ganinv_cli.options import DryRun, OutputOptions, WeightOptions, command
from ganinv_cli.running import run_verb
from pipelines.specs import AlignSpec


@command
def align(spec: AlignSpec, weights: WeightOptions, output: OutputOptions, dry: DryRun) -> None:
    """Find the faces in photos and crop them upright, as FFHQ does: what invert and edit work on."""
    output.apply()
    if not spec.device.startswith(("auto", "cpu")):
        from ganinv_cli import console

        console.note(f"align runs on the CPU: --device {spec.device} changes nothing (cpu:N: in N processes)")
    run_verb("align", spec, weights, output, dry)
