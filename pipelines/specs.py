"""Frozen descriptions of a run: every option parsed once, at the edge; unknown keys are refused.

A wrong value raises pydantic's ValidationError (a ValueError), which names the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.edits import Edit

Format = Literal["png", "jpg", "webp"]
Shard = tuple[int, int]


class RunSpec(BaseModel):
    """What every run has.

    Attributes:
        input: a folder, an image, a ``.txt`` list of paths (relative to the list), a ``.tar``, ``NAME-{000..012}.tar``, a
            URL, or ``"-"`` (paths on stdin).
        output: the run's folder, made when absent; ``NAME-{000..}.tar``: archives; a URL: a folder in a remote store.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``cuda:0,1`` or ``cpu:2``: several, a process for each.
        backend: what spreads the run over processes: ``loky`` on this machine, ``dask`` on a cluster.
        scheduler: address of the cluster's scheduler, for example ``tcp://10.0.0.1:8786``.
        batch_size: faces per pass of the device; None: the device's own default.
        num_workers: decoding processes of each device; 0: decode in the run's own process; None: by the number of cores.
        timeout: seconds for reading, decoding and searching one photo; a photo that takes longer fails. Needs decoding
            processes: with `num_workers` 0 there is nobody who could stop the decoder.
        shard: this run's part, ``"I/N"``, I from 1: a contiguous run of the sorted keys.
        limit: at most so many photos, the first by key, before sharding.
        resume: go on from the output's manifest; False refuses an output that has one already.
        retry_failed: do only what failed in an earlier run.
        overwrite: do everything again, codes on disk included.
        max_errors: stop after so many failed items; None: never.
        seed: of everything random.
        items_per_shard: photos of one archive, where `output` is ``NAME-{000..}.tar``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Path
    output: Path
    device: str = "auto"
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    num_workers: int | None = Field(default=None, ge=0, le=256)
    timeout: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None
    shard: Shard | None = None
    limit: int | None = Field(default=None, ge=1)
    resume: bool = True
    retry_failed: bool = False
    overwrite: bool = False
    max_errors: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    format: Format = "png"
    items_per_shard: int = Field(default=1000, ge=1)

    @field_validator("shard", mode="before")
    @classmethod
    def _read_shard(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        index, slash, count = value.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise ValueError(f"'{value}' is not of the form I/N, for example 2/8")
        return int(index), int(count)

    @field_validator("shard")
    @classmethod
    def _check_shard(cls, value: Shard | None) -> Shard | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError(f"{value[0]}/{value[1]}: the first number must lie between 1 and the second")
        return value

    @model_validator(mode="after")
    def _check_modes(self) -> RunSpec:
        if self.overwrite and self.retry_failed:
            raise ValueError("overwrite does everything again, retry_failed only the failed items: choose one")
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError("backend dask needs a scheduler's address, and only dask does: give both or neither")
        return self


class AlignSpec(RunSpec):
    """Photos -> upright square crops, placed as FFHQ places them.

    Attributes:
        size: side of the crops in pixels.
        faces: the largest face of a photo, or all.
        detector: a name of `pipelines.stages.align.detectors.detectors`.
        min_score: drop faces below this detector confidence (dlib: signed margin, RetinaFace: probability).
        min_size: drop faces smaller than this many photo pixels.
    """

    size: int = Field(default=1024, ge=16, le=8192)
    faces: Literal["largest", "all"] = "largest"
    detector: str = "dlib"
    min_score: float | None = Field(default=None, allow_inf_nan=False)
    min_size: int = Field(default=0, ge=0)


class InvertSpec(AlignSpec):
    """Faces -> codes and the pictures that they give.

    Attributes:
        generator: the generator's name.
        method: a named chain; `embed`, `refine` and `compensate` override its parts (None: the method's own).
        encoder: in place of the embedder, a published encoder: the name of converted weights, or an upstream file.
        compile: build the generator's passes with torch.compile (minutes at first, needs a C++ compiler on CPUs); results
            stay within rounding, so it is no part of the fingerprint.
        align: find and crop the faces first (the align options apply); else the input must hold aligned crops.
        aligned: the input is known to be aligned: do not check it.
    """

    generator: str = "mobile-ffhq"
    method: str = "feature"
    embed: str | None = None
    encoder: str | None = None
    refine: str | None = None
    compensate: str | None = None
    compile: bool = False
    align: bool = False
    aligned: bool = False

    @model_validator(mode="after")
    def _check_alignment(self) -> InvertSpec:
        if self.align and self.aligned:
            raise ValueError("align crops the faces, aligned says that they are cropped already: choose one")
        return self


class EditSpec(InvertSpec):
    """Faces -> codes -> edited pictures.

    Attributes:
        edits: what to make (`pipelines.edits.parse_edits`).
        latents: a folder whose current codes are used again (a run, or its ``latents`` folder).
        direction_files: more directions, from the user's own files.
        paste: also put each edited crop back into its photo (`photos/EDIT/KEY.jpg`).
        compose: another composer than the method's.
        masks: also write where each edited picture is not the photo (`masks/EDIT/KEY.png`).
    """

    edits: tuple[Edit, ...] = ()
    latents: Path | None = None
    direction_files: tuple[Path, ...] = ()
    paste: bool = False
    compose: str | None = None
    masks: bool = False
