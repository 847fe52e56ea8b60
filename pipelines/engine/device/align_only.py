"""`align` has nothing to compute on a device: the crop is the result."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipelines.engine.types import FaceJob, OutFile, Result
from pipelines.images.pixels import encode


class AlignOnly:
    """A `Work` that only names each crop's file."""

    def put(self, face: FaceJob) -> Iterator[Result]:
        key, crop = face.record.key, face.face.crop
        files = (OutFile(each, each.path(key), partial(encode, crop, each.suffix[1:])) for each in face.missing)
        yield Result(face.record, tuple(files))

    def flush(self) -> Iterator[Result]:
        return iter(())
