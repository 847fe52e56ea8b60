"""What the trainings of compensators and composers that came after SDIC can be told (see `pipelines.training.specs`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipelines.options import Option
from pipelines.training.base_specs import DATA, LOSSES, OUTPUT, SCHEDULE, LoopSpec


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
        pictures: weight of the image terms (without identity) of such a step, of the picture that the aligned residual at 64 px
            makes beside the one that the exact residual makes; 0: features alone.
        misaligned_every: of the steps on photos, every so many warp the residuals for the aligners to bring back; 0: none.
        corrected_every: as `SDICSpec.corrected_every`; photos are always seen at 256 px.
        exact_every: of the steps on photos, every so many look at generated faces in their place, whose residuals are known
            exactly at every stage; 0: none.
        staged: the first tenth of the steps trains the stage at 16 px alone, then up to a quarter those at 16 and 32 px.
        sdic: begin with the shipped SDIC's hourglass as pyramid and its feature head at 64 px.
        aligners: another run's best.safetensors whose aligners are taken.
        perceptual, pixel, identity: weights of the image terms.
        small: weight of the residuals' mean square, in deviations.
        stages: ablation: ``last`` has the stage at 64 px alone.
        confident: ablation: whether a confidence scales aligned residuals.
        attentive: ablation: whether aligned residuals move at all.
        learn: ``heads``: of the reconstruction the residual modules alone are trained, ``coarse``: those at 16 and 32 px.
    """

    task = "pipelines.training.tasks.gra"

    output: Annotated[Path, OUTPUT] = Path("runs/gra")
    encoder: Annotated[str, Option("Trained encoder whose codes are compensated.", "Networks")] = "encoder"
    batch: Annotated[int, Option("Faces per step on photos.", SCHEDULE)] = Field(default=2, ge=1)
    pairs_every: Annotated[int, Option("Every so many steps: pairs in feature space; 1: all, 0: none.", DATA)] = Field(
        default=2, ge=0
    )
    pairs: Annotated[int, Option("Feature pairs of such a step.", SCHEDULE)] = Field(default=4, ge=1)
    pictures: Annotated[float, Option("Weight of pictures of such a step.", LOSSES)] = Field(default=0.0, ge=0)
    misaligned_every: Annotated[int, Option("Of the photos' steps, every so many warp residuals.", DATA)] = Field(
        default=4, ge=0
    )
    corrected_every: int = Field(default=1, ge=0)
    exact_every: Annotated[int, Option("Of the photos' steps, every so many: generated faces.", DATA)] = Field(
        default=0, ge=0
    )
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
    attentive: Annotated[bool, Option("Ablation: attention that moves residuals, or none.", "Networks")] = True
    learn: Annotated[
        Literal["all", "heads", "coarse"], Option("What of the reconstruction is trained.", "Networks")
    ] = "all"
