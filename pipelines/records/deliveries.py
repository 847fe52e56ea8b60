"""The memory of a run whose results leave its folder: what was noted lately, and where finished files have gone.

Such a run works in a folder of its own, as every run does; its files are then packed or uploaded and removed. A record's
outputs may therefore name places outside of the folder: ``../out-000.tar::a.png`` or ``s3://bucket/faces/a.png``. Each
move is first noted in ``delivered.jsonl`` (the manifest's parts belong to the run) and folded into the manifest when no
run is in the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipelines.errors import OutputError
from pipelines.files import append_durably
from pipelines.records.manifest import ManifestWriter, Record, merge_parts, read_manifest, records_of
from pipelines.storage.remote import is_url
from pipelines.storage.tar_index import split_member

DELIVERED = "delivered.jsonl"


def is_away(output: str) -> bool:
    """Whether a record's output names a place outside of the run's folder."""
    return is_url(output) or split_member(output) is not None


def note(folder: Path, records: Iterable[Record]) -> None:
    """Remembers where these records' files have gone, safely on the disk. Raises OutputError."""
    try:
        append_durably(folder / DELIVERED, "".join(record.to_line() for record in records).encode("ascii"))
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
            if record is not None:
                there = {kind: path for kind, path in moved.outputs.items() if _same(record, moved, kind)}
                # A kill may have come before their removal.
                remove_files(folder, (path for kind, path in record.outputs.items() if _moved(path, there.get(kind))))
                new[moved.key] = replace(record, outputs={**record.outputs, **there})
    changed = [record for key, record in new.items() if old.get(key) != record]
    if changed:
        with closing(ManifestWriter(folder, "delivered")) as writer:
            for record in changed:
                writer.append(record)
        merge_parts(folder)
    journal.unlink(missing_ok=True)
    return new


def _same(record: Record, moved: Record, kind: str) -> bool:
    """Whether what was moved is what the record means; else it was made anew since."""
    one, other = ((each.prints.get(kind), each.fingerprint, each.digest) for each in (record, moved))
    return one == other


def _moved(path: str, place: str | None) -> bool:
    return place is not None and not is_away(path) and is_away(place)


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
