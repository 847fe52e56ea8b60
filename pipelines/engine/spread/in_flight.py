"""What the manifest's parts do not tell of a run over several processes: which photos are in work, and that it is to stop.

Files, and not sockets: they reach other machines that share the disk, and they outlive a killed worker, so that it is
known which photos it had taken up. They lie beside the worker's part of the manifest and live only as long as the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipelines.engine.events import Progress, RunSummary
from pipelines.records.json_lines import LineWriter, values
from pipelines.records.manifest import PARTS, Record, read_part
from pipelines.records.photos import face_keys

_TAKEN, _STOP = ".taken", ".stop"


class InFlight(Progress):
    """A worker's progress, which notes every photo that it takes up in `manifest.d/NAME.taken`; a killed one's stays.

    Args:
        folder: the run's folder.
        name: of the worker's part of the manifest.

    Raises:
        OutputError: the file cannot be opened or written.
    """

    def __init__(self, folder: Path, name: str, summary: RunSummary) -> None:
        super().__init__(summary, None)
        self._taken = LineWriter(folder / PARTS / f"{name}{_TAKEN}", keep=False)

    def take(self, key: str, items: int) -> None:
        self._taken.write(json.dumps(key) + "\n")

    def close(self) -> None:
        self._taken.close()


def left_by(folder: Path, workers: str) -> tuple[dict[str, Record], list[str]]:
    """What dead workers have finished, and the photos that each had taken up and not finished (one may have killed it).

    Args:
        folder: the run's folder.
        workers: how the names of their parts begin.
    """
    done: dict[str, Record] = {}
    for path in (folder / PARTS).glob(f"{workers}-*.jsonl"):
        done |= read_part(path)
    taken: set[str] = set()
    for path in (folder / PARTS).glob(f"{workers}-*{_TAKEN}"):
        with suppress(FileNotFoundError):  # that worker has just come to its end
            taken.update(map(str, values(path.read_bytes())))
    return done, sorted(photo for photo in taken if not is_done(photo, done))


def is_done(photo: str, done: Mapping[str, Record]) -> bool:
    """Whether `done` holds every item of the photo."""
    first = done.get(photo)
    return first is not None and all(key in done for key in face_keys(photo, first.faces))


def stop_file(folder: Path, token: str) -> Path:
    """Where it is, the workers of one sending end early; `token` is how their names begin."""
    return folder / PARTS / f"{token}{_STOP}"


def clear_in_flight(folder: Path, token: str = "") -> None:
    """Removes such files of a sending (of every one: the caller must be the folder's only run)."""
    for suffix in (_TAKEN, _STOP):
        for path in (folder / PARTS).glob(f"{token}*{suffix}"):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        (folder / PARTS).rmdir()  # only where it is empty
