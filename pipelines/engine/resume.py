"""What an earlier run in the same folder has finished, and what is left to do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.engine.reader import Task, file_stat
from pipelines.engine.source import Photo
from pipelines.manifest import Record

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
        self._root = os.path.join(output, "")
        self._identity = identity
        self._kinds = tuple(kinds)
        self._paste_kinds = tuple(paste_kinds)

    def fingerprint(self, photo: Photo, digest: str) -> str:
        """An item is current while this text is equal."""
        text = f"{digest} {self._identity} {photo.cut.quad if photo.cut else None}"
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def wanted(self, photo: Photo, placed: bool) -> tuple[str, ...]:
        """The kinds that an item must have; `placed`: its quad is known (for crops, `photo.origin` tells)."""
        return self._kinds + (self._paste_kinds if placed or photo.origin else ())

    def missing(self, photo: Photo, key: str, digest: str, placed: bool) -> tuple[str, ...]:
        """The kinds that are still to be made for one item (none: it is finished)."""
        wanted = self.wanted(photo, placed)
        kept = self.kept(photo, key, digest)
        left = tuple(kind for kind in wanted if kind not in kept)
        again = not left and self.records[key].status != "ok"  # its trouble was another edit: look at it once more
        return wanted if again else left

    def kept(self, photo: Photo, key: str, digest: str) -> dict[str, str]:
        """The outputs of an earlier run that are current and on disk, wanted this time or not."""
        record = self.records.get(key)
        if record is None or record.fingerprint != self.fingerprint(photo, digest):
            return {}
        return {kind: path for kind, path in record.outputs.items() if os.path.exists(self._root + path)}

    def finished(self, photo: Photo) -> int:
        """How many items of this photo are finished, all of them, by its record's digest; 0 where any is not."""
        first = self.records.get(photo.key)
        if first is None or first.status != "ok":
            return 0
        keys = face_keys(photo.key, int(first.scores.get("faces", 1)))
        for key in keys:
            record = self.records.get(key)
            if record is None or record.digest != first.digest:
                return 0
            if record.status != "ok" or self.missing(photo, key, first.digest, record.quad is not None):
                return 0
        return len(keys)

    def untouched(self, photo: Photo) -> bool:
        """Whether the photo's file looks as it did when it was read: same place, size and modification time."""
        record = self.records.get(photo.key)
        return record is not None and record.source == photo.path and record.stat == file_stat(photo.path)

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


def divide(
    photos: Iterable[Photo], ledger: Ledger, overwrite: bool, retry_failed: bool
) -> tuple[list[Task], list[tuple[Photo, int]]]:
    """(what is to be read, what is finished with its number of items), both in order.

    Finished photos whose file was touched are read once more; where the bytes are the same, nothing else is done.
    """
    tasks: list[Task] = []
    finished: list[tuple[Photo, int]] = []
    for photo in photos:
        items = 0 if overwrite else ledger.finished(photo)
        if items and ledger.untouched(photo):
            finished.append((photo, items))
        elif not retry_failed or ledger.failed(photo):
            known = ledger.records[photo.key].digest if items else ""
            tasks.append(Task(len(tasks), photo, known))
    return tasks, finished
