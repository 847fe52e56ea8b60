"""Frozen descriptions of a run: every option parsed once, at the edge; unknown keys are refused.

A field with an `Option` is the whole description of that option: the command line is made from it, and its default stands
nowhere else. A wrong value raises pydantic's ValidationError (a ValueError), which names the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from pipelines.edits import Edit, parse_edits
from pipelines.images.films import Film
from pipelines.options import Option
from pipelines.run_specs import OUTPUT, RunSpec

# Names that help and a shell's completion show without loading what knows them; tests compare them with the registries.
SIDES = ("largest", "left", "right")
DETECTORS = ("dlib", "facexlib", "facexlib-resnet50", "yunet")

FACES = Option("Aligned faces (or photos, with --align): folders, images, lists, archives or -.", metavar="INPUT")


class AlignSpec(RunSpec):
    """Photos -> upright square crops, placed as FFHQ places them.

    Attributes:
        size: side of the crops in pixels.
        faces: the largest face of a photo, or all.
        select: one face of a photo: ``largest``, ``left`` or ``right`` (the viewer's), its number from 0 in the order of
            `faces` ``all``, or a photo of the person who is meant.
        margin: how much wider than FFHQ's the crops are at each edge, as a share of its side; for `align` alone.
        detector: a name of `pipelines.stages.align.detectors.detectors`.
        min_score: drop faces below this detector confidence (dlib: signed margin, RetinaFace: probability).
        min_size: drop faces smaller than this many photo pixels.
    """

    output: Annotated[Path, OUTPUT] = Path("faces")
    size: Annotated[int, Option("Side of the crops in pixels.", "Faces")] = Field(default=1024, ge=16, le=8192)
    faces: Annotated[Literal["largest", "all"], Option("Which faces of a photo.", "Faces")] = "largest"
    select: Annotated[
        str | None,
        Option("One face: largest, left, right, a number from 0, or a photo of the person.", "Faces", metavar="WHICH"),
    ] = None
    margin: Annotated[float, Option("Wider crops: so much at each edge, as a share of the side.", "Faces")] = Field(
        default=0.0, ge=0, le=2, allow_inf_nan=False
    )
    detector: Annotated[str, Option(f"One of {', '.join(DETECTORS)}.", "Faces", complete="detectors")] = "dlib"
    min_score: Annotated[float | None, Option("Drop faces below this detector confidence.", "Faces")] = Field(
        default=None, allow_inf_nan=False
    )
    min_size: Annotated[int, Option("Drop faces smaller than so many photo pixels.", "Faces")] = Field(default=0, ge=0)

    @property
    def selects_person(self) -> bool:
        """Whether `select` is a photo of somebody."""
        return self.select is not None and self.select not in SIDES and not self.select.isdecimal()

    @model_validator(mode="after")
    def _check_select(self) -> AlignSpec:
        if self.select is not None and self.faces == "all":
            raise ValueError("select names one face, faces all takes each: choose one")
        if self.selects_person and not Path(str(self.select)).is_file():
            raise ValueError(
                f"--select '{self.select}' is neither largest, left, right nor a number, and there is no such photo"
            )
        return self


class InvertSpec(AlignSpec):
    """Faces -> codes and the pictures that they give.

    Attributes:
        generator: the generator's name.
        method: a named chain; `embed`, `refine` and `compensate` override its parts (None: the method's own).
        encoder: in place of the embedder, a published encoder: the name of converted weights, or an upstream file.
        refine: one refiner, or several joined by ``+`` or commas, one after the other; ``none``: no refiner.
        quality: a method by what a face may cost: ``fast``, ``balanced`` or ``best``, which looks at what ``balanced`` found
            and goes on only where that is poor.
        seconds_per_face, regularize, space, regularize_with, noise_maps: see `pipelines.stages.fitting.Fitting`.
        compile: build the generator's passes with torch.compile (minutes at first, needs a C++ compiler on CPUs); results
            stay within rounding, so it is no part of the fingerprint.
        align: find and crop the faces first (the align options apply); else the input must hold aligned crops.
        aligned: the input is known to be aligned: do not check it.
    """

    inputs: Annotated[tuple[Path, ...], FACES] = Field(
        default=(Path("faces"),), validation_alias=AliasChoices("inputs", "input"), min_length=1
    )
    output: Annotated[Path, OUTPUT] = Path("inversions")
    generator: Annotated[str, Option("The generator: mobile-ffhq, converted weights, or a file.", "Method")] = (
        "mobile-ffhq"
    )
    method: Annotated[
        str, Option("A named chain of embedder, refiners, compensator and composer.", "Method", complete="methods")
    ] = "photo"
    embed: Annotated[str | None, Option("Another embedder than the method's.", "Method")] = None
    encoder: Annotated[
        str | None,
        Option("A published encoder (e4e, pSp, LSAP, Cycle) as the embedder.", "Method", metavar="NAME|FILE"),
    ] = None
    refine: Annotated[
        str | None, Option("Other refiners than the method's, joined by +, or none.", "Method", metavar="NAME+NAME")
    ] = None
    compensate: Annotated[str | None, Option("Another compensator than the method's, or none.", "Method")] = None
    quality: Annotated[
        Literal["fast", "balanced", "best"] | None, Option("A method by what a face may cost.", "Method")
    ] = None
    seconds_per_face: Annotated[
        float | None, Option("Stop fitting a face after so long; not the same on every machine.", "Fitting")
    ] = Field(default=None, gt=0, allow_inf_nan=False)
    regularize: Annotated[
        Literal["lsap", "delta", "none"] | None,
        Option("What holds optimised codes near the generator's own.", "Fitting"),
    ] = None
    space: Annotated[
        Literal["w", "wplus"] | None, Option("Where fitted codes may lie: one w, or a code a row.", "Fitting")
    ] = None
    regularize_with: Annotated[
        Path | None,
        Option("Aligned faces that --refine cycle stays good on (else generated).", "Fitting", metavar="DIR"),
    ] = None
    noise_maps: Annotated[
        bool, Option("Optimised codes: also fit the generator's noise maps to the face.", "Fitting")
    ] = False
    compile: Annotated[bool, Option("Use torch.compile; pays on long runs, needs a compiler.", "Method")] = False
    align: Annotated[bool, Option("INPUT holds photos: find and crop the faces first.", "Faces")] = False
    aligned: Annotated[bool, Option("INPUT holds aligned crops: do not check that.", "Faces")] = False

    @model_validator(mode="after")
    def _check_alignment(self) -> InvertSpec:
        if self.align and self.aligned:
            raise ValueError("align crops the faces, aligned says that they are cropped already: choose one")
        if self.select is not None and not self.align:
            raise ValueError("select chooses a face of a photo: it needs --align")
        if self.margin:
            raise ValueError("margin is for ganinv align alone: generators need the plain crop")
        return self

    @model_validator(mode="after")
    def _check_quality(self) -> InvertSpec:
        if self.quality and self.method != type(self).model_fields["method"].default:
            raise ValueError("quality chooses the method: give one of quality and method")
        return self


class EditSpec(InvertSpec):
    """Faces -> codes -> edited pictures.

    Attributes:
        edits: what to make; texts are read as `pipelines.edits.parse_edits` reads them.
        like: reference portraits, as `pipelines.stages.edit.references` reads them; each makes one more edit.
        latents: a folder whose current codes are used again (a run, or its ``latents`` folder).
        direction_files: more directions, from the user's own files.
        compose: what puts an edit into the photo (``none``: nothing does); None: the method's own.
        region: where edits may change the photo, instead of where each attribute lives: ``face``, ``mouth``, ``eyes``,
            ``glasses``, ``hair``, ``all``, or a grey picture of the aligned crop, white where they may.
        deghost: whether the composer ``diffcam`` takes ghosts out of what it composed.
        masks: also write where each edited picture is not the photo (`masks/EDIT/KEY.png`).
        plan: a CSV or JSON file of key, face and attr: edits of single photos and faces (`pipelines.records.edit_plan`).
        name: a template for the names of edited pictures, masks and pasted photos (`pipelines.records.names`).
        animate: also show each face's edits one after the other, forth and back (`animation/KEY.webp`).
        animate_format: of these: ``webp``, or ``mp4``, which needs the extra `video`.
        paste: also put the edited faces of each photo back into it (`photos/EDIT/KEY`, in the photo's own format).
        paste_format: of those photos: ``own``, or another one; png, tif and bmp keep every pixel outside the faces.
        keep_gps: keep in them where the photo was taken.
        provenance: note in them that a trained model altered the photo (XMP, IPTC's digital source type).
    """

    output: Annotated[Path, OUTPUT] = Path("edits")
    edits: Annotated[
        tuple[Edit, ...],
        Option(
            "NAME=STRENGTH, as smile=+2; combine: smile=2,age=-1; sweep: smile=-2:2:1. Repeat for more edits.",
            *("Edit", ("--attr",), "NAME=S", "attributes"),
        ),
    ] = ()
    like: Annotated[
        tuple[str, ...],
        Option(
            "Bring faces to a portrait's values, as REF.jpg=smile,yaw; or a CSV of such lines. Repeat for more.",
            *("Edit", ("--like",), "REF=NAMES"),
        ),
    ] = ()
    plan: Annotated[
        Path | None,
        Option("CSV or JSON of key, face, attr: edits of single photos and faces; only these are read.", "Edit"),
    ] = None
    name: Annotated[
        str | None,
        Option(
            "Names of edited pictures, as '{key}-{edit}'; fields: key, edit, face, stem, folder.",
            *("Output", ("--name",), "TEMPLATE"),
        ),
    ] = None
    latents: Annotated[Path | None, Option("Folder whose current codes are used again.", "Edit")] = None
    direction_files: Annotated[
        tuple[Path, ...],
        Option("A direction of your own, named as its file. Repeat for more.", "Edit", ("--direction",), "FILE"),
    ] = ()
    compose: Annotated[str | None, Option("Another composer than the method's, or none.", "Method")] = None
    region: Annotated[
        str | None,
        Option(
            "Where edits may be: face, mouth, lips, eyes, lids, brows, glasses, beard, jaw, hair, all, or a grey picture.",
            "Edit",
            metavar="NAME|FILE",
        ),
    ] = None
    deghost: Annotated[
        Literal["on", "off"], Option("--compose diffcam: take ghosts out of the composed picture.", "Edit")
    ] = "on"
    masks: Annotated[bool, Option("Also write where each edited picture is not the photo.", "Edit")] = False
    animate: Annotated[bool, Option("Also an animation of each face's edits, for sweeps.", "Edit")] = False
    animate_format: Annotated[
        Film, Option("Of the animations: webp, or mp4 (pip install 'ganinv[video]').", "Edit")
    ] = "webp"
    paste: Annotated[bool, Option("Also put the edited faces of each photo back into it.", "Edit")] = False
    paste_format: Annotated[
        Literal["own", "png", "jpg", "webp", "tif"],
        Option("Format of the pasted photos: the photo's own, or another.", "Edit"),
    ] = "own"
    keep_gps: Annotated[bool, Option("Keep where the photo was taken in pasted photos.", "Edit")] = False
    provenance: Annotated[bool, Option("Note in pasted photos that a trained model altered them.", "Edit")] = True

    @field_validator("edits", mode="before")
    @classmethod
    def _read_edits(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else list(value)
        return parse_edits(texts) if all(isinstance(text, str) for text in texts) else tuple(texts)
