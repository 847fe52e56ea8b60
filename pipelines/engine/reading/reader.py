"""One photo file -> aligned faces, or the reason why not. Runs in the decoding processes."""

from __future__ import annotations

import hashlib
import time
from typing import Protocol, runtime_checkable

from pipelines import plugins
from pipelines.engine.types import Loaded, Task
from pipelines.errors import PhotoError
from pipelines.images.decode import decode, jpeg_size
from pipelines.records.photos import Photo
from pipelines.specs import AlignSpec, InvertSpec
from pipelines.stages.align.crops import LoadedFace, align_faces, invert_faces
from pipelines.storage.open import file_stat, read_source
from pipelines.types import Failure, U8Image
from pipelines.weights.store import StoreConfig, WeightStore


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
        self._reduced = source if isinstance(source, ReducedFaceSource) else None

    def __call__(self, task: Task) -> Loaded:
        """Never raises for a bad photo. Reads the file's stat *before* its bytes, so that a later change shows."""
        started, stage, digest, stat = time.perf_counter(), "decode", "", None
        notes: list[str] = []
        try:
            if task.photo.trouble is not None:
                return Loaded(task.index, failure=task.photo.trouble)
            stat = task.photo.stat or file_stat(task.photo.path)
            data = read_source(task.photo.path, task.photo.span)
            digest = hashlib.sha256(data).hexdigest()
            if digest == task.known:
                return Loaded(task.index, digest, stat, unchanged=True)
            if task.photo.cut and task.photo.cut.digest != digest:
                raise PhotoError("changed", f"'{task.photo.path}' has changed since its face was cut; align it again")
            shrink = self._shrink(task.photo, data)
            picture = decode(data, shrink, notes)
            decoded, stage = time.perf_counter(), "align"
            faces = self._reduced.faces_reduced(task.photo, picture, shrink) if shrink > 1 and self._reduced else None
            if faces is None:
                faces = self._source.faces(task.photo, picture if shrink == 1 else decode(data))
            ms = {"decode": 1e3 * (decoded - started), "align": 1e3 * (time.perf_counter() - decoded)}
            return Loaded(task.index, digest, stat, tuple(faces), ms=ms, notes=tuple(notes))
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
        size = jpeg_size(data) if self._reduced else None
        return self._reduced.shrink(photo, *size) if size and self._reduced else 1


def build_reader(spec: AlignSpec, config: StoreConfig, landmarks: bool = True) -> PhotoReader:
    """The reader of a spec's verb; called in the process that decodes, which knows no part of the user's own yet.

    Args:
        landmarks: whether a chain looks at them; `align` has none to show them to.
    """
    plugins.load(spec.plugins)
    store = WeightStore(config)
    return PhotoReader(
        invert_faces(spec, store, landmarks) if isinstance(spec, InvertSpec) else align_faces(spec, store)
    )
