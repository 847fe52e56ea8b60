"""Edited crops back into their photos, in the writing threads: one picture a photo, with all its edited faces.

The faces of a photo come one by one and out of order. Each is kept, shrunk to its place in the photo, until the last
one has come; then the photo is read and decoded, once. So what waits for a photo takes no more memory than the photo.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.engine.input.open import read_source
from pipelines.engine.types import Origin, PastePlace, Result
from pipelines.errors import PhotoError
from pipelines.files import write_atomic
from pipelines.images.pixels import decode, encode
from pipelines.records.manifest import Record
from pipelines.records.outputs import Output, edit_of
from pipelines.stages.paste import Patch, add_patch, make_patch
from pipelines.types import Failure, U8Image

Noted = tuple[Result, Record]


@dataclass
class _Gathered:
    """What has come of one photo: results by their places, and for each output the patches of those that have one."""

    noted: dict[int, Noted] = field(default_factory=dict)
    patches: dict[Output, dict[int, Patch]] = field(default_factory=dict)

    def add(self, place: PastePlace, result: Result, record: Record) -> None:
        for change in (each for each in result.changes if edit_of(each.output.kind) in record.outputs):
            patch = make_patch(change.edited, place.origin.quad, change.original, change.mask)
            self.patches.setdefault(change.output, {})[place.place] = patch
        self.noted[place.place] = replace(result, changes=(), files=()), record


class Paster:
    """Gathers the faces of each photo and pastes them; safe to call from several threads.

    Args:
        folder: the run's folder.
        write: how a file is written.
    """

    def __init__(self, folder: Path, write: Callable[[Path, bytes], None] = write_atomic) -> None:
        self._folder = folder
        self._write = write
        self._guard = threading.Lock()
        self._waiting: dict[str, _Gathered] = {}

    def take(self, result: Result, record: Record) -> list[Noted]:
        """Nothing while faces of its photo are still to come; with the last, all of them, the photo being written.

        The photo is an output of its first face, which fails where it cannot be written.
        """
        place = result.place
        if place is None:
            return [(result, record)]
        with self._guard:
            gathered = self._waiting.setdefault(place.name, _Gathered())
        gathered.add(place, result, record)
        with self._guard:
            if len(gathered.noted) < place.count or self._waiting.pop(place.name, None) is None:
                return []
        faces = [gathered.noted[each] for each in sorted(gathered.noted)]
        return [(faces[0][0], self._pasted(place, gathered.patches, faces[0][1])), *faces[1:]]

    def left(self) -> list[Noted]:
        """The faces whose photos did not become complete: a run that was stopped."""
        with self._guard:
            waiting, self._waiting = self._waiting, {}
        return [noted for gathered in waiting.values() for _, noted in sorted(gathered.noted.items())]

    def _pasted(self, place: PastePlace, patches: dict[Output, dict[int, Patch]], record: Record) -> Record:
        """The first face's record with the photo among its outputs."""
        try:
            photo = _open(place.origin) if patches else None
        except PhotoError as error:
            failure = record.error or Failure("write", error.code, error.message)
            return replace(record, status="failed", error=failure)
        outputs, prints = dict(record.outputs), dict(record.prints)
        for output, faces in patches.items():
            assert photo is not None
            picture = photo.copy()
            for _, patch in sorted(faces.items()):
                add_patch(picture, patch)
            path = output.path(place.name)
            self._write(self._folder / path, encode(picture, output.suffix[1:]))
            outputs[output.kind], prints[output.kind] = path, output.fingerprint
        return replace(record, outputs=outputs, prints=prints)


def _open(origin: Origin) -> U8Image:
    """The whole photo, uint8 H x W x 3; raises PhotoError where it is gone or not the one that was aligned."""
    data = read_source(origin.path)
    if hashlib.sha256(data).hexdigest() != origin.digest:
        raise PhotoError("changed", f"'{origin.path}' has changed since its face was cut; align again")
    return decode(data)
