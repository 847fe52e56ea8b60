"""What `ganinv train NAME` can be told: one description of each training, for the command line, the run and its resuming.

Apart from what trains, so that help and mistakes need no tensor library. A training registers itself by its spec, and the
spec names the module whose `train(spec, store, report)` does the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.options import Option
from pipelines.registry import Registry
from pipelines.specs import Spec
from pipelines.training.recipes import TERMS

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


class DiffCAMSpec(LoopSpec):
    """Train the masks of the composer diffcam: a classifier of what an edit changed; a second call goes on.

    Attributes:
        encoder: its asset gives the photos' codes.
        classes: attributes that are told apart; empty: all of our own directions.
        least, most: strengths of edits, either way.
        disturbance: largest share of the way to another person's codes that is mixed into an edit; 0: none.
    """

    task = "pipelines.training.tasks.diffcam"

    output: Annotated[Path, OUTPUT] = Path("runs/diffcam")
    encoder: Annotated[str, Option("Trained encoder that gives the photos' codes.", "Networks")] = "encoder"
    classes: Annotated[
        tuple[str, ...], Option("An attribute to tell from the others; repeat. Default: all.", DATA)
    ] = ()
    least: Annotated[float, Option("Least strength of an edit.", DATA)] = Field(default=0.5, gt=0)
    most: Annotated[float, Option("Greatest strength of an edit.", DATA)] = Field(default=2.5, gt=0)
    disturbance: Annotated[float, Option("How much of another person is mixed into each edit, at most.", DATA)] = Field(
        default=0.5, ge=0, le=1
    )


class DeghostSpec(LoopSpec):
    """Train the deghosting of the composer diffcam; a second call goes on, in the drawing of pairs, too.

    Attributes:
        encoder, compensator: the chain whose renders are composed.
        pairs: ghosted pictures, drawn once and kept in the folder: photos and generated faces in turn.
        edits: attributes of the edits.
        least, most: their strengths, either way.
        pixel, perceptual, contour, adversarial: weights of the terms.
    """

    task = "pipelines.training.tasks.deghost"

    output: Annotated[Path, OUTPUT] = Path("runs/deghost")
    encoder: Annotated[str, Option("Trained encoder that gives the photos' codes.", "Networks")] = "encoder"
    compensator: Annotated[str, Option("Compensator whose renders are composed.", "Networks")] = "sdic-wide"
    pairs: Annotated[int, Option("Ghosted pictures to draw.", DATA)] = Field(default=600, ge=40)
    edits: Annotated[tuple[str, ...], Option("An attribute to edit; repeat for more.", DATA, ("--edit",))] = (
        *("smile", "mouth_open", "eyes_open", "age", "gender"),
    )
    least: Annotated[float, Option("Least strength of an edit.", DATA)] = Field(default=0.7, gt=0)
    most: Annotated[float, Option("Greatest strength of an edit.", DATA)] = Field(default=2.2, gt=0)
    pixel: Annotated[float, Option("Weight of the pixel term.", LOSSES)] = Field(default=2.0, ge=0)
    perceptual: Annotated[float, Option("Weight of the perceptual term.", LOSSES)] = Field(default=0.1, ge=0)
    contour: Annotated[float, Option("Weight of the gradients' term.", LOSSES)] = Field(default=0.2, ge=0)
    adversarial: Annotated[float, Option("Weight of a discriminator's term (published: 0.01).", LOSSES)] = Field(
        default=0.0, ge=0
    )


class GRASpec(LoopSpec):
    """Train gradual residuals and their alignment (GRA) for an encoder's codes; a second call goes on from the last checkpoint.

    Steps are of two kinds that share no weights: on photos the pyramid and the residual modules learn to bring them back, on
    pairs of generated features (no picture is made) the aligners learn what a residual becomes under an edit.

    Attributes:
        encoder: its asset gives the codes that are compensated.
        pairs_every: every so many steps are on feature pairs; 1: all, 0: none.
        pairs: feature pairs of such a step.
        misaligned_every: of the steps on photos, every so many warp the residuals for the aligners to bring back; 0: none.
        corrected_every: as `SDICSpec.corrected_every`; photos are always seen at 256 px.
        staged: the first tenth of the steps trains the stage at 16 px alone, then up to a quarter those at 16 and 32 px.
        sdic: begin with the shipped SDIC's hourglass as pyramid and its feature head at 64 px.
        aligners: another run's best.safetensors whose aligners are taken.
        perceptual, pixel, identity: weights of the image terms.
        small: weight of the residuals' mean square, in deviations.
        stages: ablation: ``last`` has the stage at 64 px alone.
        confident: ablation: whether a confidence scales aligned residuals.
    """

    task = "pipelines.training.tasks.gra"

    output: Annotated[Path, OUTPUT] = Path("runs/gra")
    encoder: Annotated[str, Option("Trained encoder whose codes are compensated.", "Networks")] = "encoder"
    batch: Annotated[int, Option("Faces per step on photos.", SCHEDULE)] = Field(default=2, ge=1)
    pairs_every: Annotated[int, Option("Every so many steps: pairs in feature space; 1: all, 0: none.", DATA)] = Field(
        default=2, ge=0
    )
    pairs: Annotated[int, Option("Feature pairs of such a step.", SCHEDULE)] = Field(default=4, ge=1)
    misaligned_every: Annotated[int, Option("Of the photos' steps, every so many warp residuals.", DATA)] = Field(
        default=4, ge=0
    )
    corrected_every: int = Field(default=1, ge=0)
    staged: Annotated[bool, Option("Coarse stages first, finer ones later.", SCHEDULE)] = False
    sdic: Annotated[bool, Option("Begin with the shipped SDIC's weights, or from nothing.", "Run")] = True
    aligners: Annotated[str | None, Option("Take the aligners of another run's best.safetensors.", "Run")] = None
    pixel: Annotated[float, Option("Weight of the pixel term.", LOSSES)] = Field(default=1.0, ge=0)
    perceptual: Annotated[float, Option("Weight of the perceptual term.", LOSSES)] = Field(default=0.8, ge=0)
    identity: Annotated[float, Option("Weight of the identity term.", LOSSES)] = Field(default=0.1, ge=0)
    small: Annotated[float, Option("Weight of the residuals' size.", LOSSES)] = Field(default=0.01, ge=0)
    stages: Annotated[Literal["all", "last"], Option("last: an ablation, the stage at 64 px alone.", "Networks")] = (
        "all"
    )
    confident: Annotated[bool, Option("Ablation: confidence of aligned residuals, or none.", "Networks")] = True


trainings: Registry[type[TrainSpec]] = Registry("training")
trainings.add("encoder", EncoderSpec)
trainings.add("sdic", SDICSpec)
trainings.add("diffcam", DiffCAMSpec)
trainings.add("deghost", DeghostSpec)
trainings.add("gra", GRASpec)
trainings.add("head", HeadSpec)
trainings.add("directions", DirectionsSpec)
