"""Edited crops back into their photos, in the writing threads: one picture a photo, with all its edited faces.

The faces of a photo come one by one and out of order. Each is kept, shrunk to its place in the photo, until the last
one has come. The photo is read and decoded once: with the first of several faces, while the others are edited, but for a
few photos at a time; so what waits takes little more memory than these.
It is written as its own file was: format, mode, depth, colours, metadata (`images/original.py`).
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.engine.types import PastePlace, Result
from pipelines.errors import OutputError, PhotoError
from pipelines.files import write_atomic
from pipelines.images.original import Original, as_format, read_original
from pipelines.records.manifest import Record
from pipelines.records.outputs import Output
from pipelines.records.photos import Origin
from pipelines.stages.paste import Patch, PhotoStyle, make_patch, paste_all
from pipelines.storage.open import read_source
from pipelines.types import Failure

Noted = tuple[Result, Record]
_AHEAD = 2  # photos that are decoded before their last face has come


@dataclass
class _Gathered:
    """What has come of one photo: results by their places, and for each output the patches of those that have one."""

    noted: dict[int, Noted] = field(default_factory=dict)
    patches: dict[Output, dict[int, Patch]] = field(default_factory=dict)
    photo: Future[Original] | None = None

    def add(self, place: PastePlace, result: Result, record: Record) -> None:
        for change in (each for each in result.changes if all(edit in record.outputs for edit in each.output.edits)):
            patch = make_patch(change.edited, place.origin.quad, change.original, change.mask)
            output = replace(change.output, shows=())  # with a plan each face shows another edit in one photo
            self.patches.setdefault(output, {})[place.place] = patch
        self.noted[place.place] = replace(result, changes=(), files=()), record


class Paster:
    """Gathers the faces of each photo and pastes them; safe to call from several threads.

    Args:
        folder: the run's folder.
        style: how photos are written.
    """

    def __init__(self, folder: Path, style: PhotoStyle | None = None) -> None:
        self._folder = folder
        self._style = style or PhotoStyle()
        self._guard = threading.Lock()
        self._waiting: dict[str, _Gathered] = {}
        self._reader = ThreadPoolExecutor(1, "paste")

    def take(self, result: Result, record: Record) -> list[Noted]:
        """Nothing while faces of its photo are still to come; with the last, all of them, the photo being written.

        The photo is an output of its first face, which fails where it cannot be written.
        """
        place = result.place
        if place is None:
            return [(result, record)]
        with self._guard:
            gathered = self._waiting.setdefault(place.name, _Gathered())
            ahead = sum(each.photo is not None for each in self._waiting.values())
            if result.changes and place.count > 1 and gathered.photo is None and ahead < _AHEAD:
                gathered.photo = self._reader.submit(_open, place.origin)
        gathered.add(place, result, record)
        with self._guard:
            if len(gathered.noted) < place.count or self._waiting.pop(place.name, None) is None:
                return []
        faces = [gathered.noted[each] for each in sorted(gathered.noted)]
        return [(faces[0][0], self._pasted(place, gathered, faces[0][1])), *faces[1:]]

    def left(self) -> list[Noted]:
        """The faces whose photos did not become complete: a run that was stopped."""
        with self._guard:
            waiting, self._waiting = self._waiting, {}
        return [noted for gathered in waiting.values() for _, noted in sorted(gathered.noted.items())]

    def _pasted(self, place: PastePlace, gathered: _Gathered, record: Record) -> Record:
        """The first face's record with the photo among its outputs."""
        outputs, prints, failure = dict(record.outputs), dict(record.prints), record.error
        photo: Original | None = None
        try:
            for output, faces in gathered.patches.items():
                photo = photo or as_format(_decoded(gathered, place.origin), self._style.format)
                path = replace(output, suffix=f".{photo.suffix}").path(place.name)
                nearest_last = [patch for _, patch in sorted(faces.items(), reverse=True)]
                write_atomic(self._folder / path, paste_all(photo, nearest_last, self._style))
                outputs[output.kind], prints[output.kind] = path, output.fingerprint
        except PhotoError as error:
            failure = failure or Failure("write", error.code, error.message)
        except (OutputError, MemoryError):
            raise
        except Exception as error:  # a library tripped over this one photo: the others need not suffer
            kind = type(error).__name__
            sentence = f"'{place.origin.path}' could not be written again ({kind}: {error}); try --paste-format png"
            failure = failure or Failure("write", "unexpected", sentence)
        status = "failed" if failure else record.status
        return replace(record, outputs=outputs, prints=prints, error=failure, status=status)


def _decoded(gathered: _Gathered, origin: Origin) -> Original:
    return _open(origin) if gathered.photo is None else gathered.photo.result()


def _open(origin: Origin) -> Original:
    """The whole photo; raises PhotoError where it is gone or not the one that was aligned."""
    data = read_source(origin.path)
    if hashlib.sha256(data).hexdigest() != origin.digest:
        raise PhotoError("changed", f"'{origin.path}' has changed since its face was cut; align again")
    return read_original(data)
