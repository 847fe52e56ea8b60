"""The memory of a run whose results leave its folder: what was noted lately, and where finished files have gone.

Such a run works in a folder of its own, as every run does; its files are then packed or uploaded and removed. A record's
outputs may therefore name places outside of the folder: ``../out-000.tar::a.png`` or ``s3://bucket/faces/a.png``. Each
move is first noted in ``delivered.jsonl`` (the manifest's parts belong to the run) and folded into the manifest when no
run is in the folder.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pipelines.engine.input.remote import is_url
from pipelines.engine.input.tar_index import SEPARATOR, split_member
from pipelines.errors import OutputError
from pipelines.records.manifest import ManifestWriter, Record, merge_parts, read_manifest, records_of

DELIVERED = "delivered.jsonl"
MOST_FOLDERS, MOST_NAMES = 64, 50_000  # that `Presence` remembers, and in each of them: a bound on its memory


def is_away(output: str) -> bool:
    """Whether a record's output names a place outside of the run's folder."""
    return is_url(output) or split_member(output) is not None


class Presence:
    """Which outputs exist, by one listing of each folder instead of a look at each of 100,000 files.

    A folder is listed when it is first asked for, and that listing holds: what a run asks is what *earlier* runs left.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._root = os.path.join(folder, "")
        self._listed: OrderedDict[str, set[str] | None] = OrderedDict()

    def has(self, output: str) -> bool:
        """Whether an output of a record exists. What was uploaded is checked when a run starts, all at once."""
        if SEPARATOR in output or "://" in output:
            if is_url(output):
                return True
            parts = split_member(output)
            output = parts[0] if parts else output
        below, _, name = output.rpartition("/")
        try:
            names = self._listed[below]
        except KeyError:
            names = self._list(below)
        return name in names if names is not None else os.path.exists(self._root + output)

    def _list(self, below: str) -> set[str] | None:
        """The names in a folder; None where they are so many that each is better looked at by itself."""
        names: set[str] | None = set()
        try:
            with os.scandir(self._root + below) as entries:
                names = {entry.name for entry in islice(entries, MOST_NAMES + 1)}
        except OSError:
            pass
        self._listed[below] = names = names if names is None or len(names) <= MOST_NAMES else None
        if len(self._listed) > MOST_FOLDERS:
            self._listed.popitem(last=False)
        return names


def note(folder: Path, records: Iterable[Record]) -> None:
    """Remembers where these records' files have gone, safely on the disk. Raises OutputError."""
    try:
        with open(folder / DELIVERED, "ab") as file:
            file.writelines(record.to_line().encode("ascii") for record in records)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write '{folder / DELIVERED}': {error.strerror}; free space and run again") from error


def fold(folder: Path, records: Mapping[str, Record] | None = None) -> dict[str, Record]:
    """The manifest with every delivered output at its new place, written and returned.

    Args:
        folder: the run's folder; the caller must be its only user.
        records: what to start from instead of the folder's own manifest.
    """
    merge_parts(folder)
    old = read_manifest(folder)
    new = dict(old if records is None else records)
    journal = folder / DELIVERED
    if journal.is_file():
        for moved in records_of(journal.read_bytes()):
            record = new.get(moved.key)
            if record is not None and record.fingerprint == moved.fingerprint:  # else it was made anew since
                # A kill may have come before their removal.
                remove_files(folder, (path for kind, path in record.outputs.items() if _moved(path, kind, moved)))
                new[moved.key] = replace(record, outputs={**record.outputs, **moved.outputs})
    changed = [record for key, record in new.items() if old.get(key) != record]
    if changed:
        write_records(folder, changed)
    journal.unlink(missing_ok=True)
    return new


def _moved(path: str, kind: str, moved: Record) -> bool:
    return not is_away(path) and is_away(moved.outputs.get(kind, path))


def write_records(folder: Path, records: Iterable[Record]) -> None:
    """Folds changed records into the folder's manifest; the caller must be its only user."""
    writer = ManifestWriter(folder, "delivered")
    try:
        for record in records:
            writer.append(record)
    finally:
        writer.close()
    merge_parts(folder)


def remove_files(folder: Path, outputs: Iterable[str]) -> None:
    """Removes files that are delivered, and the folders that become empty (never `folder` itself)."""
    for output in outputs:
        path = folder / output
        path.unlink(missing_ok=True)
        for above in path.parents:
            if above == folder:
                break
            try:
                above.rmdir()
            except OSError:
                break
