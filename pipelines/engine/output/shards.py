"""Results as tar archives in webdataset style: ``out-000.tar`` with ``KEY.png``, ``KEY.json``, ... side by side.

An archive holds the items of so many photos, in the order of their keys; which photo goes where depends on the input
alone. It is written as ``.part`` when all its photos are finished, and renamed; until then the files lie in the run's
folder. Packing the same files again gives the same bytes, so a killed run simply packs again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.errors import OutputError
from pipelines.files import append_durably
from pipelines.records.deliveries import fold, is_away, note, remove_files
from pipelines.records.json_lines import values
from pipelines.records.manifest import Record, read_manifest
from pipelines.storage.tar_index import SEPARATOR
from pipelines.storage.webdataset import Archives, Source, member_name, packed, stem, stem_of, write_archive

SEALED = "shards.jsonl"


class Packer:
    """Packs a run's results as their archives become complete.

    Args:
        archives: their names.
        folder: the run's folder.
        photos: keys of the run's photos, in order.
        count: photos of one archive.
    """

    def __init__(self, archives: Archives, folder: Path, photos: Sequence[str], count: int) -> None:
        self._archives = archives
        self._folder = folder
        self._home: dict[str, int] = {}
        self._photos: dict[int, list[str]] = {}
        self._sealed = self._read_sealed()
        left = [key for key in photos if key not in self._home]
        count = count if archives.width else max(1, len(left))
        place = 0
        for start in range(0, len(left), count):
            while place in self._sealed:
                place += 1
            self._assign(place, left[start : start + count])
            place += 1
        self._fresh: dict[int, dict[str, dict[str, Record]]] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Records of this run, as they come; archives that are complete are written. Raises OutputError."""
        for record in records:
            photo = self._photo(record.key)
            place = self._home.get(photo)
            if place is None or place in self._sealed or record.status == "skipped":
                continue  # joins its archive at the end
            self._fresh.setdefault(place, {}).setdefault(photo, {})[record.key] = record
            if self._complete(place, self._fresh[place]):
                self._seal(place, self._fresh.pop(place))

    def finish(self) -> None:
        """All that is finished but not packed yet, whichever run made it; the run must have come to its end."""
        by_photo: dict[str, dict[str, Record]] = {}
        for record in read_manifest(self._folder).values():
            if record.status != "skipped":
                by_photo.setdefault(self._photo(record.key), {})[record.key] = record
        for place in sorted(self._photos):
            found = {photo: by_photo[photo] for photo in self._photos[place] if photo in by_photo}
            local = any(
                not is_away(path) for items in found.values() for r in items.values() for path in r.outputs.values()
            )
            if self._complete(place, found) and (local or place not in self._sealed):
                self._seal(place, found)

    def close(self) -> None:
        """The manifest with each file's archive; the caller must be the folder's only user."""
        fold(self._folder)

    def _photo(self, key: str) -> str:
        """The photo of an item: `KEY.n` is a further face of `KEY`."""
        return key if key in self._home else re.sub(r"\.[1-9]\d*\Z", "", key)

    def _assign(self, place: int, photos: list[str]) -> None:
        self._photos[place] = photos
        self._home.update(dict.fromkeys(photos, place))

    def _complete(self, place: int, found: Mapping[str, Mapping[str, Record]]) -> bool:
        for photo in self._photos[place]:
            items = found.get(photo, {})
            if photo not in items or len(items) < items[photo].faces:
                return False
        return True

    def _seal(self, place: int, found: Mapping[str, Mapping[str, Record]]) -> None:
        target = Path(self._archives.name(place))
        members = packed(target) if place in self._sealed else {}
        moved: list[Record] = []
        staged: list[str] = []
        for record in (items[key] for _, items in sorted(found.items()) for key in sorted(items)):
            outputs = {}
            for kind, path in record.outputs.items():
                if not is_away(path):
                    name = member_name(record.key, kind, path)
                    members[name] = Source(self._folder / path)
                    outputs[kind] = os.path.relpath(target, self._folder) + SEPARATOR + name
                    staged.append(path)
            if record.outputs:
                members[stem(record.key) + ".json"] = Source(data=_about(record))
            moved.append(replace(record, outputs=outputs))
        stems = {stem(record.key) for record in moved}  # an item that is no more leaves its archive
        members = {name: source for name, source in members.items() if stem_of(name) in stems}
        with _telling(target):
            write_archive(target, members)
        self._note_sealed(place)
        note(self._folder, (record for record in moved if record.outputs))
        remove_files(self._folder, staged)

    def _read_sealed(self) -> set[int]:
        sealed: set[int] = set()
        path = self._folder / SEALED
        for body in values(path.read_bytes()) if path.is_file() else ():
            with contextlib.suppress(KeyError, TypeError):  # a damaged line: what it told of is packed again
                if os.path.exists(self._archives.name(int(body["shard"]))):
                    sealed.add(body["shard"])
                    self._assign(body["shard"], [str(photo) for photo in body["photos"]])
        return sealed

    def _note_sealed(self, place: int) -> None:
        if place in self._sealed:
            return
        line = json.dumps({"shard": place, "photos": self._photos[place]}) + "\n"
        with _telling(self._folder / SEALED):
            append_durably(self._folder / SEALED, line.encode("ascii"))
        self._sealed.add(place)


def _about(record: Record) -> bytes:
    """What the archive says of an item: all of its record that does not differ from run to run."""
    body = {
        "key": record.key,
        "source": record.source,
        "digest": record.digest,
        "outputs": sorted(record.outputs),
        "quad": record.quad,
        "scores": dict(sorted(record.scores.items())),
        "fingerprint": record.fingerprint,
    }
    return (json.dumps(body, ensure_ascii=True) + "\n").encode("ascii")


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write '{path}': {error.strerror}; free space and run the same command again"
        ) from error
