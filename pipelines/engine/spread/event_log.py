"""What a worker tells its parent, line by line in a file of the run's folder.

Files, and not sockets: they reach the parent from another machine that shares the disk, and they outlive a killed
worker, so that the parent knows which photos it had taken up. `manifest.d/TOKEN-SHARE-ATTEMPT.events` lies beside the
manifest's part of the same name; it only lives as long as the run.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.engine.events import RunSummary, Tally
from pipelines.engine.resume.ledger import face_keys
from pipelines.errors import OutputError
from pipelines.records.manifest import PARTS, Record

_SUFFIX, _STOP = ".events", ".stop"
News = dict[str, Any]  # kind, key and what belongs to the kind


class JournalTally(Tally):
    """A worker's tally: notes every step in its journal.

    Args:
        folder: the run's folder.
        name: ``TOKEN-SHARE-ATTEMPT``.

    Raises:
        OutputError: the journal cannot be opened or written.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(RunSummary("", str(folder)), None)
        self._path = folder / PARTS / f"{name}{_SUFFIX}"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 (open as long as the share)
            self._end = self._file.tell()
        except OSError as error:
            raise self._trouble(error) from None

    def more(self, items: int) -> None:
        if items:
            self._note("more", items=items)

    def take(self, key: str, items: int) -> None:
        self._note("take", key, items=items)

    def skip(self, key: str, items: int = 1) -> None:
        self._note("skip", key, items=items)

    def ended(self, key: str, code: str, message: str) -> None:
        self.summary.failed += bool(code)
        self._note("end", key, code=code, message=message)

    def warn(self, message: str) -> None:
        self._note("warn", message=message)

    def died(self, photos: list[str]) -> None:
        """An earlier attempt at this share died over `photos`, which are left for the next run."""
        self._note("died", keys=photos)

    def close(self) -> None:
        self._file.close()

    def _note(self, kind: str, key: str = "", **more: Any) -> None:
        """One whole line or nothing: a disk that becomes full takes part of one, which the next would be glued to."""
        line = (json.dumps({"kind": kind, "key": key, **more}) + "\n").encode("ascii")
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(self._end)
            raise self._trouble(error) from None
        self._end += len(line)

    def _trouble(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error)
        return OutputError(f"cannot write {self._path}: {reason}; free space and run the same command again to go on")


class Journals:
    """All journals of a run (of one pass of it) as they grow.

    Args:
        folder: the run's folder.
        token: how the pass's files begin.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder / PARTS
        self._token = token
        self._read: dict[Path, int] = {}

    def news(self) -> Iterator[News]:
        """The whole lines that were added since the last call."""
        for path in sorted(self._folder.glob(f"{self._token}-*{_SUFFIX}")):
            begin = self._read.get(path, 0)
            with suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(begin)
                data = file.read()
                end = data.rfind(b"\n") + 1
                self._read[path] = begin + end
                yield from (json.loads(line) for line in data[:end].splitlines())

    def retire(self, share: int) -> None:
        """Removes the journals of a share that has come back and is known to the end: all are looked at every time."""
        for path in self._folder.glob(f"{self._token}-{share:04d}-*{_SUFFIX}"):
            self._read.pop(path, None)
            with suppress(OSError):
                path.unlink()

    def stop(self) -> None:
        """Tells the workers to end early."""
        with suppress(OSError):  # on a full disk they stop by themselves
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stop_file.touch()

    def stopped(self) -> bool:
        """Whether `stop` was called, here or in the parent."""
        return self._stop_file.exists()

    @property
    def _stop_file(self) -> Path:
        return self._folder / f"{self._token}{_STOP}"


class InWork:
    """The items that were taken up and have not ended, as the journals tell."""

    def __init__(self) -> None:
        self._items: dict[str, str] = {}  # item -> its photo

    def see(self, news: News) -> None:
        if news["kind"] == "take":
            photo: str = news["key"]
            self._items |= dict.fromkeys(face_keys(photo, news["items"]), photo)
        elif news["kind"] in ("end", "skip"):
            self._items.pop(news["key"], None)

    def settle(self, done: Mapping[str, Record]) -> tuple[list[Record], list[str]]:
        """After a death: the items that the manifest had noted already, and the photos that were not finished."""
        noted = [done[item] for item in self._items if item in done]
        lost = {photo for item, photo in self._items.items() if item not in done}
        return noted, sorted(lost)


def is_done(photo: str, done: Mapping[str, Record]) -> bool:
    """Whether `done` holds every item of the photo."""
    first = done.get(photo)
    return first is not None and all(key in done for key in face_keys(photo, int(first.scores.get("faces", 1))))


def remove_journals(folder: Path, token: str = "") -> None:
    """Removes the journals of a run (of every run: the caller must be the folder's only one)."""
    for suffix in (_SUFFIX, _STOP):
        for path in (folder / PARTS).glob(f"{token}*{suffix}"):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        (folder / PARTS).rmdir()  # only where it is empty
