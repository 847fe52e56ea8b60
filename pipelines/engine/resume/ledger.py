"""What an earlier run in the same folder has finished, and what is left to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from pipelines.engine.resume.output_index import OutputIndex
from pipelines.engine.resume.wishes import Wishes
from pipelines.records.edit_plan import EditPlan
from pipelines.records.manifest import Record
from pipelines.records.outputs import INVERSION, Output
from pipelines.records.photos import Photo, face_keys
from pipelines.storage.open import file_stat

_PRINT = 16  # hexadecimal digits of an item's fingerprints


class Ledger:
    """The records of a folder, and whether they still hold, each output by itself.

    Args:
        folder: the run's folder.
        records: what its manifest says.
        outputs: what this run is to make.
        plan: which face gets which of them; None: all get all.
    """

    def __init__(
        self, folder: Path, records: Mapping[str, Record], outputs: Sequence[Output], plan: EditPlan | None = None
    ) -> None:
        self.records = records
        self._there = OutputIndex(folder)
        self._plan = plan
        self._wishes = Wishes(outputs, plan)
        self._pasting = any(output.per == "photo" for output in outputs)

    def part(self, photos: Iterable[Photo]) -> dict[str, Record]:
        """The records of these photos' items, withdrawn ones included: all that a worker needs to know of them."""
        part: dict[str, Record] = {}
        for photo in photos:
            if (first := self.records.get(photo.key)) is not None:
                part[photo.key] = first
            part |= {record.key: record for record in self._further(photo.key, 1)}
        return part

    def _further(self, key: str, face: int) -> Iterator[Record]:
        """The records of a photo's faces from that one (1 or more) on, as far as they go without a gap."""
        while (record := self.records.get(f"{key}.{face}")) is not None:
            yield record
            face += 1

    def wanted(self, photo: Photo, key: str, digest: str, placed: bool) -> tuple[Output, ...]:
        """What an item must have, each with the fingerprint that it has for this item.

        Args:
            digest: of the file that was read.
            placed: its place in a photo is known (for crops, `photo.origin` tells).
        """
        return _marked(self._prints(photo, key, digest, placed))

    def missing(self, photo: Photo, key: str, digest: str, placed: bool, faces: int = 1) -> tuple[Output, ...]:
        """What is still to be made for one item (nothing: it is finished).

        The faces of one photo are pasted together: where one of them lacks the photo, all do.

        Args:
            faces: how many the photo has.
        """
        wanted = self._prints(photo, key, digest, placed)
        record = self.records.get(key)
        kept = self._held(photo, record, digest, wanted)
        pasted = not self._pasting or self._pasted(photo, digest, wanted, faces)
        left = {o: mark for o, mark in wanted.items() if (o.kind not in kept if o.per == "face" else not pasted)}
        again = not left and record is not None and record.status != "ok"  # its trouble was another edit: once more
        return _marked(wanted if again else left)

    def kept(self, photo: Photo, key: str, digest: str, placed: bool) -> Record:
        """The record with the outputs of earlier runs that are current and on disk, wanted this time or not."""
        record = self.records.get(key)
        wanted = self._prints(photo, key, digest, placed)
        held = self._held(photo, record, digest, wanted)
        if record is None or not held:
            return Record(key, photo.path, digest)
        marks = {**record.prints, **{o.kind: mark for o, mark in wanted.items()}}
        marks = {kind: marks[kind] for kind in held if kind in marks}
        old = record.fingerprint if len(marks) < len(held) else ""
        return Record(key, photo.path, digest, outputs=held, fingerprint=old, prints=marks)

    def _prints(self, photo: Photo, key: str, digest: str, placed: bool) -> dict[Output, str]:
        head = f"{digest} {photo.cut.quad if photo.cut else None}"
        shared = f"{photo.origin.digest} {photo.group}" if photo.group and photo.origin else head
        return {
            output: _print(f"{shared if output.per == 'photo' else head} {output.fingerprint}")
            for output in self._wishes.of(photo, int(key[len(photo.key) + 1 :] or 0))
            if output.per == "face" or placed or photo.origin
        }

    def _held(self, photo: Photo, record: Record | None, digest: str, wanted: Mapping[Output, str]) -> dict[str, str]:
        """The outputs that hold. Of kinds that are not wanted this time, those do whose inversion does."""
        if record is None or record.digest != digest:
            return {}
        current = {output.kind: self._holds(photo, record, output, mark) for output, mark in wanted.items()}
        others = current.get(INVERSION, False)
        return {
            kind: path for kind, path in record.outputs.items() if current.get(kind, others) and self._there.has(path)
        }

    def _holds(self, photo: Photo, record: Record, output: Output, mark: str) -> bool:
        own = record.prints.get(output.kind)
        if own is not None or not (output.before and record.fingerprint):
            return own == mark
        text = f"{record.digest} {output.before} {photo.cut.quad if photo.cut else None}"
        return record.fingerprint == hashlib.sha256(text.encode("ascii")).hexdigest()

    def _pasted(self, photo: Photo, digest: str, wanted: Mapping[Output, str], faces: int) -> bool:
        """Whether the photo is there with all its faces, which is noted with the first of them."""
        keys = [key for key, _ in photo.group] or face_keys(photo.key, faces)
        found = [self.records.get(key) for key in keys]
        first = found[0]
        if first is None or any(record is None or record.status != "ok" for record in found):
            return False
        held = self._held(photo, first, first.digest if photo.group else digest, wanted)
        return all(o.kind in held for o in wanted if o.per == "photo") and self._untouched(photo.group)

    def _untouched(self, group: Iterable[tuple[str, str]]) -> bool:
        for key, path in group:
            record = self.records[key]
            if record.source != path or record.stat is None or record.stat != file_stat(path):
                return False
        return True

    def finished(self, photo: Photo) -> tuple[int, bool]:
        """How many items of this photo are finished, all of them, by its record's digest (0 where any is not); and
        whether its file looks as it did then: same place, size and modification time."""
        first = self.records.get(photo.key)
        if first is None or first.status != "ok":
            return 0, False
        faces = max(1, first.faces)
        if self._plan is not None and self._plan.beyond(photo, faces):  # fails each time, as photos without a face do
            return 0, False
        for key in face_keys(photo.key, faces):
            record = self.records.get(key)
            if record is None or record.digest != first.digest or record.status != "ok":
                return 0, False
            if self.missing(photo, key, first.digest, record.quad is not None, faces):
                return 0, False
        untouched = (
            first.stat is not None
            and first.source == photo.path
            and first.stat == (photo.stat or file_stat(photo.path))
        )
        return faces, untouched

    def failed(self, photo: Photo) -> bool:
        """Whether the photo, or a face of it, failed before."""
        return any(record.status == "failed" for record in self._items(photo))

    def _items(self, photo: Photo) -> Iterator[Record]:
        first = self.records.get(photo.key)
        faces = first.faces if first else 1
        together = (key for key, _ in photo.group) if self._pasting else ()
        for key in {*face_keys(photo.key, faces), *together}:
            if (record := self.records.get(key)) is not None:
                yield record

    def withdrawn(self, photo: Photo, faces: int) -> list[Record]:
        """Earlier items of a photo that has fewer faces now."""
        own = takewhile(lambda record: record.source == photo.path, self._further(photo.key, max(faces, 1)))
        return [record for record in own if record.status != "skipped"]


def _marked(marks: Mapping[Output, str]) -> tuple[Output, ...]:
    return tuple(replace(output, fingerprint=mark) for output, mark in marks.items())


def _print(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_PRINT]
