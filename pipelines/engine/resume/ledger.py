"""What an earlier run in the same folder has finished, and what is left to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path

from pipelines.engine.output.deliveries import Presence
from pipelines.engine.reading.reader import Task, photo_stat
from pipelines.engine.types import Photo
from pipelines.records.manifest import Record

BASE_KINDS = ("inversion", "latents")


def face_keys(key: str, faces: int) -> list[str]:
    """The items of a photo: KEY, KEY.1, KEY.2, ..."""
    return [key, *(f"{key}.{face}" for face in range(1, faces))]


class Ledger:
    """The records of a folder, and whether they still hold.

    Args:
        output: the run's folder.
        records: what its manifest says.
        identity: everything but the input that decides the outputs (options, versions, weights), hashed.
        kinds: the outputs that an item must have.
        paste_kinds: further outputs of the items whose place in a photo is known.
    """

    def __init__(
        self,
        output: Path,
        records: Mapping[str, Record],
        identity: str,
        kinds: Iterable[str],
        paste_kinds: Iterable[str] = (),
    ) -> None:
        self.records = records
        self._there = Presence(output)
        self._identity = identity
        self._kinds = tuple(kinds)
        self._paste_kinds = tuple(paste_kinds)

    def part(self, photos: Iterable[Photo]) -> dict[str, Record]:
        """The records of these photos' items, withdrawn ones included: all that a worker needs to know of them."""
        part: dict[str, Record] = {}
        for photo in photos:
            for face in count():
                key = f"{photo.key}.{face}" if face else photo.key
                if (record := self.records.get(key)) is not None:
                    part[key] = record
                elif face:
                    break
        return part

    def fingerprint(self, photo: Photo, digest: str) -> str:
        """An item is current while this text is equal."""
        text = f"{digest} {self._identity} {photo.cut.quad if photo.cut else None}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def wanted(self, photo: Photo, placed: bool) -> tuple[str, ...]:
        """The kinds that an item must have; `placed`: its quad is known (for crops, `photo.origin` tells)."""
        return self._kinds + (self._paste_kinds if placed or photo.origin else ())

    def missing(self, photo: Photo, key: str, digest: str, placed: bool) -> tuple[str, ...]:
        """The kinds that are still to be made for one item (none: it is finished)."""
        return self._missing(photo, self.records.get(key), digest, placed)

    def _missing(self, photo: Photo, record: Record | None, digest: str, placed: bool) -> tuple[str, ...]:
        wanted = self.wanted(photo, placed)
        kept = self._kept(photo, record, digest)
        left = tuple(kind for kind in wanted if kind not in kept)
        again = not left and record is not None and record.status != "ok"  # its trouble was another edit: once more
        return wanted if again else left

    def kept(self, photo: Photo, key: str, digest: str) -> dict[str, str]:
        """The outputs of an earlier run that are current and on disk, wanted this time or not."""
        return self._kept(photo, self.records.get(key), digest)

    def _kept(self, photo: Photo, record: Record | None, digest: str) -> dict[str, str]:
        if record is None or record.fingerprint != self.fingerprint(photo, digest):
            return {}
        return {kind: path for kind, path in record.outputs.items() if self._there.has(path)}

    def finished(self, photo: Photo) -> tuple[int, bool]:
        """How many items of this photo are finished, all of them, by its record's digest (0 where any is not); and
        whether its file looks as it did then: same place, size and modification time."""
        first = self.records.get(photo.key)
        if first is None or first.status != "ok":
            return 0, False
        faces = max(1, int(first.scores.get("faces", 1)))
        for face in range(faces):
            record = self.records.get(f"{photo.key}.{face}") if face else first
            if record is None or record.digest != first.digest:
                return 0, False
            if record.status != "ok" or self._missing(photo, record, first.digest, record.quad is not None):
                return 0, False
        untouched = first.stat is not None and first.source == photo.path and first.stat == photo_stat(photo)
        return faces, untouched

    def failed(self, photo: Photo) -> bool:
        """Whether the photo, or a face of it, failed before."""
        first = self.records.get(photo.key)
        faces = int(first.scores.get("faces", 1)) if first else 1
        found = (self.records.get(key) for key in face_keys(photo.key, faces))
        return any(record is not None and record.status == "failed" for record in found)

    def withdrawn(self, photo: Photo, faces: int) -> list[Record]:
        """Earlier items of a photo that has fewer faces now."""
        stale, face = [], max(faces, 1)
        while (record := self.records.get(f"{photo.key}.{face}")) is not None and record.source == photo.path:
            if record.status != "skipped":
                stale.append(record)
            face += 1
        return stale


def task_of(photo: Photo, ledger: Ledger, overwrite: bool, retry_failed: bool, index: int) -> tuple[Task | None, int]:
    """What is to be read of a photo, or None; and how many of its items are finished.

    A finished photo whose file was touched is read once more; where the bytes are the same, nothing else is done.
    """
    items, untouched = (0, False) if overwrite else ledger.finished(photo)
    if items and untouched:
        return None, items
    if retry_failed and not ledger.failed(photo):
        return None, 0
    return Task(index, photo, ledger.records[photo.key].digest if items else ""), items
