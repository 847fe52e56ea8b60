"""What `ganinv train NAME` can be told: one description of each training, for the command line, the run and its resuming.

Apart from what trains, so that help and mistakes need no tensor library. A training registers itself by its spec, and the
spec names the module whose `train(spec, store, report)` does the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.options import Option
from pipelines.registry import Registry
from pipelines.training.base_specs import DATA, LOSSES, OUTPUT, SCHEDULE, LoopSpec, TrainSpec
from pipelines.training.edit_specs import DeghostSpec, DiffCAMSpec, GRASpec
from pipelines.training.recipes import TERMS


class HeadSpec(TrainSpec):
    """Fit the 256 and 128 px heads of mobile-ffhq, and the statistics of its codes."""

    task = "pipelines.training.tasks.preview_head"

    output: Annotated[Path, OUTPUT] = Path("runs/head")
    pairs: Annotated[int, Option("Generated faces to fit on.", DATA)] = Field(default=1000, ge=64)
    steps: Annotated[int, Option("Optimiser steps of the 256 px head.", SCHEDULE)] = Field(default=6400, ge=1)
    sketch_steps: Annotated[int, Option("Optimiser steps of the 128 px head.", SCHEDULE)] = Field(default=1400, ge=1)


class DirectionsSpec(TrainSpec):
    """Fit, calibrate and measure the direction of every attribute; or measure directions of your own (--measure).

    Attributes:
        measure: direction files, as `ganinv edit --direction` takes them, to be measured instead.
        photos: aligned faces on which directions are measured, composed; None: generated ones.
        keep: take the shipped directions of shape and pose as they are.
    """

    task = "pipelines.training.tasks.directions"

    output: Annotated[Path, OUTPUT] = Path("runs/directions")
    seed: Annotated[int, Option("Seed of everything random.", "Run")] = Field(default=1, ge=0)
    faces: Annotated[int, Option("Generated faces to fit on.", DATA)] = Field(default=2400, ge=600)
    bench: Annotated[int, Option("Other faces that calibrate and measure.", DATA)] = Field(default=20, ge=8)
    measure: Annotated[
        tuple[Path, ...],
        Option(
            "Measure a direction file of your own and write its card. Repeat for more.", DATA, ("--measure",), "FILE"
        ),
    ] = ()
    photos: Annotated[Path | None, Option("Measure on a folder of aligned faces, instead of generated ones.", DATA)] = (
        None
    )
    keep: Annotated[
        bool, Option("Keep the shipped directions of shape and pose; refit those made by recipe.", SCHEDULE)
    ] = False


class EncoderSpec(LoopSpec):
    """Train an encoder on aligned faces and on generated ones; a second call goes on from the last checkpoint.

    Attributes:
        recipe: name in `pipelines.training.recipes`.
        network: ``compact`` or ``e4e``.
        synthetic: faces of a batch that are generated.
        teach: first steps in which all faces are generated and codes alone are judged (cheap, no recipe terms).
        code_weight: weight of the true codes' error on generated faces.
        view: picture that losses see (`pipelines.training.losses.view`).
        weights: recipe weights overridden by the user; also as texts ``TERM=X``.
        start: share of the published schedule that lies behind the first step: 0, or more for a run that goes on from a
            trained encoder (`init`). Cycle Encoding's second leg, W+ -> W, starts at 2/3.
    """

    task = "pipelines.training.tasks.encoder"

    output: Annotated[Path, OUTPUT] = Path("runs/encoder")
    recipe: Annotated[str, Option("e4e, lsap or cycle.", LOSSES)] = "e4e"
    network: Annotated[str, Option("compact, or e4e: the published IR-SE-50.", "Networks")] = "compact"
    synthetic: Annotated[int, Option("How many of a step's faces are generated, with known codes.", DATA)] = Field(
        default=2, ge=0
    )
    teach: Annotated[int, Option("First steps on generated faces' codes alone.", SCHEDULE)] = Field(default=0, ge=0)
    code_weight: Annotated[float, Option("Weight of known codes' error.", LOSSES)] = Field(default=0.1, ge=0)
    view: Annotated[
        Literal["sketch", "preview", "full"],
        Option("What losses look at: sketch (128 px), preview (256 px) or full.", LOSSES),
    ] = "sketch"
    weights: Annotated[
        Mapping[str, float],
        Option("Override a weight of the recipe; may be repeated.", LOSSES, ("--weight",), "TERM=X"),
    ] = Field(default_factory=dict)
    start: Annotated[float, Option("Share of the published schedule that lies behind it.", SCHEDULE)] = Field(
        default=0.0, ge=0, lt=1
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _read_weights(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else dict(_weight(text) for text in value)

    @model_validator(mode="after")
    def _check_batch(self) -> EncoderSpec:
        if self.synthetic > self.batch:
            raise ValueError(f"--synthetic {self.synthetic} does not fit into --batch {self.batch}")
        if self.teach >= self.steps:
            raise ValueError(f"--teach {self.teach} leaves none of the {self.steps} steps for photos")
        return self


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if name not in TERMS or not number >= 0 or math.isinf(number):
        raise ValueError(f"'{text}': give TERM=NUMBER with one of {', '.join(TERMS)}")
    return name, number


class SDICSpec(LoopSpec):
    """Train a compensator (SDIC) for an encoder's codes; a second call goes on from the last checkpoint.

    Attributes:
        encoder: its asset gives the codes that are compensated.
        pairs_every: every so many steps the faces are generated pairs with pasted detail and an edit; 0: never.
        view: ``sketch`` (128 px) or ``head`` (256 px); `fine` last steps look at 256 px in any case.
        corrected_every: of the steps at 256 px, every so many see the full picture's error taken out of the head: a network
            that never does learns to please the head (docs/decisions/0013); 0: none.
        perceptual, pixel, identity, compensation: weights of the terms.
        moves: weight of the term that asks edits of photos to move as far as the encoder's own do; 0: none. It is taken at
            every `moves_every`-th step on photos.
        discrepancy, latent, feature: the ablations of the paper (`pipelines.models.sdic.lean.LeanSDIC`).
    """

    task = "pipelines.training.tasks.sdic"

    output: Annotated[Path, OUTPUT] = Path("runs/sdic")
    encoder: Annotated[str, Option("Trained encoder whose codes are compensated.", "Networks")] = "encoder"
    batch: Annotated[int, Option("Faces per step.", SCHEDULE)] = Field(default=4, ge=1)
    pairs_every: Annotated[int, Option("Every so many steps: generated pairs with an edit.", DATA)] = Field(
        default=4, ge=0
    )
    view: Literal["sketch", "head"] = "sketch"
    fine: Annotated[int, Option("Last steps that look at 256 px instead of 128.", SCHEDULE)] = Field(default=0, ge=0)
    corrected_every: Annotated[
        int, Option("Of those, every so many correct the head by the full picture.", SCHEDULE)
    ] = Field(default=2, ge=0)
    pixel: Annotated[float, Option("Weight of the pixel term.", LOSSES)] = Field(default=1.0, ge=0)
    perceptual: Annotated[float, Option("Weight of the perceptual term.", LOSSES)] = Field(default=0.8, ge=0)
    identity: Annotated[float, Option("Weight of the identity term.", LOSSES)] = Field(default=0.1, ge=0)
    compensation: Annotated[float, Option("Weight of the pull towards no change.", LOSSES)] = Field(default=0.5, ge=0)
    moves: Annotated[float, Option("Weight of: edits move a face as far as the encoder's own do.", LOSSES)] = Field(
        default=0.0, ge=0
    )
    moves_every: int = Field(default=2, ge=1)
    discrepancy: Annotated[
        Literal["network", "raw"], Option("raw: an ablation, the plain difference in place of the map.", "Networks")
    ] = "network"
    latent: Annotated[bool, Option("Ablation: change the codes, or not.", "Networks")] = True
    feature: Annotated[bool, Option("Ablation: the same for the feature.", "Networks")] = True

    @model_validator(mode="after")
    def _check_parts(self) -> SDICSpec:
        if not (self.latent or self.feature):
            raise ValueError("a compensator without latent and feature part does nothing: leave one of them on")
        if self.fine > self.steps:
            raise ValueError(f"--fine {self.fine} is more than the {self.steps} steps")
        return self


trainings: Registry[type[TrainSpec]] = Registry("training")
trainings.add("encoder", EncoderSpec)
trainings.add("sdic", SDICSpec)
trainings.add("diffcam", DiffCAMSpec)
trainings.add("deghost", DeghostSpec)
trainings.add("gra", GRASpec)
trainings.add("head", HeadSpec)
trainings.add("directions", DirectionsSpec)
