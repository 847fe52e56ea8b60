"""Between reader and writer: what becomes of one face. `AlignWork` only names its file; `ChainWork` inverts and edits.

Both take faces one at a time and hand out results when they have them; memory is bounded by one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pipelines.engine.input.listing import FACE, Photo
from pipelines.engine.output.writer import OutFile, Result
from pipelines.engine.reading.reader import LoadedFace
from pipelines.images.pixels import encode
from pipelines.records.manifest import Record


@dataclass(frozen=True)
class WorkFace:
    """A face on its way: what was read, the record so far, and the kinds of output that are still to be made."""

    photo: Photo
    face: LoadedFace
    record: Record
    missing: tuple[str, ...]


class Work(Protocol):
    """Takes faces, gives results: `put` gives none (the batch is not full) or several, `flush` the rest."""

    def put(self, face: WorkFace) -> Iterator[Result]: ...

    def flush(self) -> Iterator[Result]: ...


class AlignWork:
    """`align`: the crop is the result."""

    def __init__(self, format: str) -> None:
        self._format = format

    def put(self, face: WorkFace) -> Iterator[Result]:
        path = f"{face.record.key}.{self._format}"
        yield Result(face.record, (OutFile(FACE, path, partial(encode, face.face.crop, self._format)),))

    def flush(self) -> Iterator[Result]:
        return iter(())
