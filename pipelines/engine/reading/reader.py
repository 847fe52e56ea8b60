"""One photo file -> aligned faces, or the reason why not. Runs in the decoding processes."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from pipelines.engine.input.remote import is_url, read_remote, remote_stat
from pipelines.engine.input.tar_index import SEPARATOR, read_member, split_member
from pipelines.engine.types import Photo
from pipelines.errors import PhotoError
from pipelines.images.decode import decode, jpeg_size, read_photo
from pipelines.records.manifest import Stat
from pipelines.types import F32Array, Failure, Quad, U8Image


@dataclass(frozen=True)
class LoadedFace:
    """One aligned face.

    Attributes:
        crop: uint8 R x R x 3, RGB.
        quad: the crop's corners in the photo; None where the file is the crop.
        landmarks: 68 x 2 shares of the crop's side, NaN where no face was found; None where nobody asked.
        pixels: sha256 of `crop`, hex: equal pixels have equal codes, however they were cut ("" where nobody asked).
        scores: ``detector`` (its confidence), ``misalignment`` (share of the side, see `stages.align.aligner.misalignment`).
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


@runtime_checkable
class ReducedFaceSource(Protocol):
    """A `FaceSource` that can work on a JPEG decoded at a reduced scale, where no pixel that counts is lost."""

    def shrink(self, photo: Photo, width: int, height: int) -> int:
        """1, 2, 4 or 8: the scale to try for a photo of this upright size (1: the whole photo is needed)."""

    def faces_reduced(self, photo: Photo, picture: U8Image, shrink: int) -> list[LoadedFace] | None:
        """As `faces`, quads in the *whole* photo's pixels; None where the reduced picture does not do after all."""


class PhotoReader:
    """Reads, hashes, decodes and aligns; every trouble with one photo becomes its `Failure`."""

    def __init__(self, source: FaceSource) -> None:
        self._source = source

    def __call__(self, task: Task) -> Loaded:
        """Never raises for a bad photo. Reads the file's stat *before* its bytes, so that a later change shows."""
        started, stage, digest, stat = time.perf_counter(), "decode", "", None
        try:
            if task.photo.trouble is not None:
                return Loaded(task.index, failure=task.photo.trouble)
            stat = photo_stat(task.photo)
            data = read_source(task.photo.path, task.photo.span)
            digest = hashlib.sha256(data).hexdigest()
            if digest == task.known:
                return Loaded(task.index, digest, stat, unchanged=True)
            if task.photo.cut and task.photo.cut.digest != digest:
                raise PhotoError("changed", f"'{task.photo.path}' has changed since its face was cut; align it again")
            shrink = self._shrink(task.photo, data)
            picture = decode(data, shrink)
            decoded, stage = time.perf_counter(), "align"
            faces = self._faces(task.photo, picture, shrink)
            if faces is None:
                faces = self._source.faces(task.photo, decode(data))
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

    def _shrink(self, photo: Photo, data: bytes) -> int:
        """The scale to decode at first: below 1:1 only for a large JPEG whose faces come out small."""
        size = jpeg_size(data) if isinstance(self._source, ReducedFaceSource) else None
        return self._source.shrink(photo, *size) if size and isinstance(self._source, ReducedFaceSource) else 1

    def _faces(self, photo: Photo, picture: U8Image, shrink: int) -> list[LoadedFace] | None:
        if shrink > 1 and isinstance(self._source, ReducedFaceSource):
            return self._source.faces_reduced(photo, picture, shrink)
        return self._source.faces(photo, picture)


def read_source(path: str, span: tuple[int, int] | None = None) -> bytes:
    """The bytes of a photo wherever it lies: a file, a URL, or ``ARCHIVE::MEMBER`` (at `span`, where that is known).

    Raises PhotoError, with the codes of `pipelines.images.decode.read_photo` and ``unreachable``.
    """
    if split_member(path):
        return read_member(path, span)
    return read_remote(path) if is_url(path) else read_photo(Path(path))


def photo_stat(photo: Photo) -> Stat | None:
    """What tells, without reading a photo, whether it has changed: what the listing said, else what its place says."""
    return photo.stat or file_stat(photo.path)


def pixel_digest(crop: U8Image) -> str:
    """sha256 (hex) of a crop's side and pixels."""
    return hashlib.sha256(repr(crop.shape).encode() + crop.tobytes()).hexdigest()


def file_stat(path: str) -> Stat | None:
    """(bytes, modification time in ns), or None where the file cannot be looked at; of a member: those of its archive."""
    parts = split_member(path) if SEPARATOR in path else None
    path = parts[0] if parts else path
    if is_url(path):
        return remote_stat(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in a list's line
        return None
    return status.st_size, status.st_mtime_ns
