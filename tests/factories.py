"""Tiny stand-ins for the parts that need weights, and makers of pictures. All are picklable: decoders are processes."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.edits import Edit, parse_edits
from pipelines.engine.device.align_only import AlignOnly
from pipelines.engine.device.batching import Batcher, ChainSettings
from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.job import Job
from pipelines.engine.reading.reader import PhotoReader
from pipelines.errors import PhotoError
from pipelines.images.pixels import to_uint8
from pipelines.records.edit_plan import EditPlan, read_plan
from pipelines.records.names import parse_name
from pipelines.records.outputs import ANIMATION, FACE, INVERSION, LATENTS, Output, mask_of, photo_of, planned_photo
from pipelines.records.photos import Photo
from pipelines.specs import AlignSpec, EditSpec
from pipelines.stages.align.crops import LoadedFace, pixel_digest
from pipelines.types import Composition, FaceBatch, Inversion, Quad, Rendered, U8Image

SIZE = 32


def picture(seed: int, size: int = 64) -> U8Image:
    """uint8 size x size x 3, the same for the same seed."""
    return np.random.default_rng(seed).integers(1, 255, (size, size, 3), dtype=np.uint8)


def write_photo(path: Path, seed: int, size: int = 64) -> Path:
    """A PNG file with `picture(seed)`, whatever its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(picture(seed, size)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path


def write_photos(folder: Path, count: int) -> Path:
    """`count` photos, some of them in a sub-folder."""
    for number in range(count):
        write_photo(folder / ("sub/" if number % 3 == 2 else "") / f"p{number:02d}.png", number)
    return folder


@dataclass(frozen=True)
class FakeFaces:
    """Cuts the top left corner; a photo whose first pixel is black has no face, `count` faces otherwise."""

    count: int = 1
    pause: float = 0.0
    die_on: str = ""

    def faces(self, photo: Photo, image: U8Image) -> list[LoadedFace]:
        time.sleep(self.pause)
        if self.die_on and photo.key == self.die_on:
            os.kill(os.getpid(), signal.SIGKILL)
        if not image[0, 0].any():
            raise PhotoError("no-face", "no face was found")
        made = []
        for face in range(self.count):
            crop = np.ascontiguousarray(image[face : face + SIZE, :SIZE])
            quad: Quad = ((0, face), (0, face + SIZE), (SIZE, face + SIZE), (SIZE, face))
            landmarks = np.full((68, 2), 0.5, np.float32)
            made.append(LoadedFace(crop, quad, landmarks, pixel_digest(crop), {"detector": 1.0}))
        return made


def make_reader(faces: FakeFaces) -> PhotoReader:
    return PhotoReader(faces)


def face_names(faces: FaceBatch) -> list[str]:
    """What `write_photos` called the photos that these faces of `FakeFaces` were cut from ("?": none of them)."""
    return [_face_name(crop) for crop in to_uint8(faces.images)]


def _face_name(crop: U8Image) -> str:
    for number in range(100):
        if np.array_equal(crop, picture(number)[: len(crop), : len(crop)]):
            return f"{'sub/' if number % 3 == 2 else ''}p{number:02d}"
    return "?"


class FakeChain:
    """Codes are the mean colour, the inversion is the picture itself, an edit adds its strengths / 10."""

    resolution = SIZE

    def __init__(self, pause: float = 0.0, limit: int = 1000) -> None:
        self.inverted: list[str] = []
        self.batches: list[int] = []
        self._pause = pause
        self._limit = limit

    def invert(self, faces: FaceBatch) -> Inversion:
        time.sleep(self._pause)
        if len(faces) > self._limit:
            raise RuntimeError("CUDA out of memory (fake)")
        self.inverted += face_names(faces)
        self.batches.append(len(faces))
        codes = faces.images.mean((2, 3)).repeat(1, 4).unsqueeze(1)
        return Inversion(codes, {"4b": faces.images / 3}, scores={"loss": codes[:, 0, 0]})

    def edit(self, faces: FaceBatch, inversion: Inversion, edits: Sequence[Edit]) -> Rendered:
        base, ones = inversion.residuals["4b"] * 3, torch.ones(len(faces), 1, SIZE, SIZE)
        made = {edit.name: base + sum(strength for _, strength in edit.terms) / 10 for edit in edits}
        return Rendered(base, {name: Composition(image, ones) for name, image in made.items()})


def align_job(source: Path, output: Path, fake: FakeFaces | None = None, workers: int = 0, **options: Any) -> Job:
    """`align` with a fake detector."""
    fake = fake or FakeFaces()
    spec = AlignSpec(input=source, output=output, num_workers=workers, size=SIZE, **options)
    return Job(
        command="align",
        spec=spec,
        listing=list_input(source, InputOptions(faces_all=spec.faces == "all", output=output)),
        outputs=(Output(FACE, "face", f".{spec.format}", "fake-align"),),
        make_reader=partial(make_reader, fake),
        make_work=lambda device: AlignOnly(),
        workers=workers,
    )


@dataclass(frozen=True)
class GivenCrops:
    """Files that are crops already."""

    def faces(self, photo: Photo, image: U8Image) -> list[LoadedFace]:
        return [LoadedFace(image[:SIZE, :SIZE], None, None, pixel_digest(image))]


def edit_outputs(
    spec: EditSpec,
    codes: str = "fake-codes",
    compensate: str = "",
    decides: dict[str, str] | None = None,
    plan: EditPlan | None = None,
) -> tuple[Output, ...]:
    """The table of a fake run: what decides codes, the inversion and each edit's pictures are given words."""
    made = f"{codes} {compensate}"
    outputs = [
        Output(INVERSION, "face", f".{spec.format}", f"{made} {spec.format}"),
        Output(LATENTS, "face", ".safetensors", codes),
    ]
    names = tuple(edit.name for edit in spec.edits)
    called = parse_name(spec.name, names, spec.faces == "all") if spec.name is not None else None
    for name in names:
        own = f"{made} {(decides or {}).get(name)} {spec.name or ''}".rstrip()
        outputs.append(Output(name, "face", f".{spec.format}", f"{own} {spec.format}", name=called))
        outputs += [Output(mask_of(name), "face", ".png", own, name=called)] if spec.masks else []
        if spec.paste and (plan is None or name in plan.always):
            outputs.append(Output(photo_of(name), "photo", ".jpg", own, name=called))
    rounds = range(plan.most) if plan is not None and spec.paste else ()
    outputs += [Output(planned_photo(number), "photo", "", f"{made} plan", name=called) for number in rounds]
    outputs += [Output(ANIMATION, "face", ".webp", made, shows=names)] if spec.animate else []
    return tuple(outputs)


def edit_job(
    source: Path,
    output: Path,
    attrs: Sequence[str] = ("smile=+2",),
    chain: FakeChain | None = None,
    fake: FakeFaces | GivenCrops | None = None,
    workers: int = 0,
    codes: str = "fake-codes",
    compensate: str = "",
    decides: dict[str, str] | None = None,
    **options: Any,
) -> Job:
    """`edit --align` with a fake detector and a fake chain; with `GivenCrops`, `edit` of crops."""
    asked = parse_edits(attrs)
    plan = read_plan(options["plan"], [edit.name for edit in asked]) if "plan" in options else None
    edits = tuple({edit.name: edit for edit in (*(plan.edits if plan else ()), *asked)}.values())
    spec = EditSpec(
        input=source,
        output=output,
        num_workers=workers,
        edits=edits,
        align=not isinstance(fake, GivenCrops),
        **options,
    )
    folders = () if spec.overwrite else (output / LATENTS,)
    composed = spec.compose not in (None, "none")
    settings = ChainSettings(edits, spec.batch_size or 2, spec.seed, (codes,), folders, composed)
    return Job(
        command="edit",
        spec=spec,
        listing=list_input(source, InputOptions(use_run=not spec.align, output=output, grouped=spec.paste)),
        outputs=edit_outputs(spec, codes, compensate, decides, plan),
        make_reader=partial(make_reader, fake or FakeFaces()),
        make_work=lambda device: Batcher(lambda: chain or FakeChain(), torch.device(device), settings),
        workers=workers,
        plan=plan,
    )


def output_files(folder: Path) -> dict[str, bytes]:
    """Every picture and code file that a run left, hidden files and the run's own papers aside.

    Code files are compared by what they say: safetensors writes its metadata in an order that changes with the process.
    """
    papers = {"run.json", "manifest.jsonl"}
    return {
        path.relative_to(folder).as_posix(): plain(path.name, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in papers and not path.name.startswith(".")
    }


def plain(name: str, data: bytes) -> bytes:
    """A file's bytes; of codes what they say, in one order."""
    if not name.endswith(".safetensors") or b"__metadata__" not in data:
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.dumps(json.loads(data[8:end]), sort_keys=True).encode() + data[end:]
