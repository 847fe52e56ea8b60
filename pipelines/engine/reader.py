"""One photo file -> aligned faces, or the reason why not. Runs in the decoding processes."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipelines.engine.source import Photo
from pipelines.errors import PhotoError
from pipelines.images import decode, read_photo
from pipelines.manifest import Stat
from pipelines.types import F32Array, Failure, Quad, U8Image


@dataclass(frozen=True)
class LoadedFace:
    """One aligned face.

    Attributes:
        crop: uint8 R x R x 3, RGB.
        quad: the crop's corners in the photo; None where the file is the crop.
        landmarks: 68 x 2 shares of the crop's side, NaN where no face was found; None where nobody asked.
        pixels: sha256 of `crop`, hex: equal pixels have equal codes, however they were cut ("" where nobody asked).
        scores: ``detector`` (its confidence), ``misalignment`` (share of the side, see `stages.align.misalignment`).
    """

    crop: U8Image
    quad: Quad | None = None
    landmarks: F32Array | None = None
    pixels: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """What became of one photo: its faces, or a failure, or (`unchanged`) bytes that were finished before.

    `index` is the photo's place in the run; `ms` the time per stage; `stat` as in the manifest's record.
    """

    index: int
    digest: str = ""
    stat: Stat | None = None
    faces: tuple[LoadedFace, ...] = ()
    failure: Failure | None = None
    unchanged: bool = False
    ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One photo to read; `known` is the digest whose items are finished, "" where none is."""

    index: int
    photo: Photo
    known: str = ""


class FaceSource(Protocol):
    """Decoded photo -> faces, raising PhotoError; what `PhotoReader` needs to know about faces."""

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]: ...


class PhotoReader:
    """Reads, hashes, decodes and aligns; every trouble with one photo becomes its `Failure`."""

    def __init__(self, source: FaceSource) -> None:
        self._source = source

    def __call__(self, task: Task) -> Loaded:
        """Never raises for a bad photo. Reads the file's stat *before* its bytes, so that a later change shows."""
        started, stage, digest, stat = time.perf_counter(), "decode", "", None
        try:
            stat = file_stat(task.photo.path)
            data = read_photo(Path(task.photo.path))
            digest = hashlib.sha256(data).hexdigest()
            if digest == task.known:
                return Loaded(task.index, digest, stat, unchanged=True)
            if task.photo.cut and task.photo.cut.digest != digest:
                raise PhotoError("changed", f"'{task.photo.path}' has changed since its face was cut; align it again")
            picture = decode(data)
            decoded, stage = time.perf_counter(), "align"
            faces = self._source.faces(task.photo, picture)
            ms = {"decode": 1e3 * (decoded - started), "align": 1e3 * (time.perf_counter() - decoded)}
            return Loaded(task.index, digest, stat, tuple(faces), ms=ms)
        except PhotoError as error:
            failure = Failure(stage, error.code, error.message)
        except MemoryError:
            failure = Failure(stage, "out-of-memory", f"'{task.photo.path}' does not fit the memory; make it smaller")
        except Exception as error:  # a library tripped over this one file: the others need not suffer
            kind = type(error).__name__
            failure = Failure(stage, "unexpected", f"'{task.photo.path}' could not be read ({kind}: {error})")
        return Loaded(task.index, digest, stat, failure=failure)


def pixel_digest(crop: U8Image) -> str:
    """sha256 (hex) of a crop's side and pixels."""
    return hashlib.sha256(repr(crop.shape).encode() + crop.tobytes()).hexdigest()


def file_stat(path: str) -> Stat | None:
    """(bytes, modification time in ns), or None where the file cannot be looked at."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
