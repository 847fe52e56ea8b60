"""What all trainings can be told, and what those on photos have: the first classes of `pipelines.training.specs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pipelines.options import Option
from pipelines.run_specs import Spec

OUTPUT = Option("Folder to write; a second run goes on from it.", "Output", ("--output", "-o"))
DATA, LOSSES, SCHEDULE = "Data", "Losses", "Schedule"
_DECIDED_ELSEWHERE = {"output", "data", "device", "plugins", "every", "until"}  # no part of what a run is


class TrainSpec(Spec):
    """What every training has.

    Attributes:
        task: the module that carries it out.
        output: folder of the run; a second run goes on from what is there.
        seed: of everything random.
    """

    task: ClassVar[str]

    output: Annotated[Path, OUTPUT]
    seed: Annotated[int, Option("Seed of everything random.", "Run")] = Field(default=0, ge=0)


class LoopSpec(TrainSpec):
    """What trainings on photos have, which run in `pipelines.training.loop`.

    Attributes:
        data: folders or tars of aligned faces.
        generator: name of the generator.
        steps: optimiser steps; schedules stretch to them.
        until: stop at this step; the schedule stays that of `steps`.
        batch: faces per step over all devices.
        optimiser: ``adamw`` (warm-up, cosine to a thirtieth) or ``ranger`` (constant, as published).
        lr: step size; parameters of a `trunk` move at a third of it.
        average: decay of the averaged weights, which are validated and kept; 0: none.
        half: the generator and the network run in bfloat16; weights, losses and validation stay float32.
        init: another run's best.safetensors to start from.
        device: ``auto`` or ``cpu``; several GPUs through `accelerate launch`.
        every: steps between validations and checkpoints.
    """

    data: Annotated[tuple[Path, ...], Option("Folder or .tar of aligned faces; may be given several times.", DATA)] = (
        Field(min_length=1)
    )
    generator: Annotated[str, Option("Generator to invert.", "Networks")] = "mobile-ffhq"
    steps: Annotated[int, Option("Steps; published schedules are stretched to them.", SCHEDULE)] = Field(
        default=4000, ge=1
    )
    until: Annotated[int | None, Option("Stop at this step; a later run goes on.", SCHEDULE)] = Field(
        default=None, ge=1
    )
    batch: Annotated[int, Option("Faces per step.", SCHEDULE)] = Field(default=8, ge=1)
    optimiser: Annotated[Literal["adamw", "ranger"], Option("adamw, or ranger as published.", SCHEDULE)] = "adamw"
    lr: Annotated[float, Option("Step size.", SCHEDULE)] = Field(default=1e-3, ge=0, allow_inf_nan=False)
    average: float = Field(default=0.995, ge=0, lt=1)
    half: Annotated[bool, Option("bfloat16 in the generator and the network.", "Run", ("--half/--float",))] = True
    init: Annotated[str, Option("Start from another run's best.safetensors.", "Run")] = ""
    device: Annotated[
        Literal["auto", "cpu"], Option("auto or cpu; several GPUs: accelerate launch -m ganinv_cli.app ...", "Run")
    ] = "auto"
    every: Annotated[int, Option("Steps between validations and checkpoints.", "Run")] = Field(default=200, ge=1)

    def decisive(self, data: str) -> dict[str, Any]:
        """What decides the result, as JSON has it, and must be equal when a run goes on; `data`: a hash of the photos."""
        return self.model_dump(mode="json", exclude=_DECIDED_ELSEWHERE) | {"data": data}
