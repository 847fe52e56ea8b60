"""Results to a remote store: each item's files are uploaded and removed here once its record is noted."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipelines.errors import PhotoError
from pipelines.files import write_atomic
from pipelines.records.deliveries import fold, is_away, note, remove_files
from pipelines.records.manifest import MANIFEST, PARTS, Record, has_manifest, read_manifest, read_part
from pipelines.storage.remote import find_files, read_remote, write_remote

THREADS = 8  # uploads at once: a store answers late, not slowly


class Uploader:
    """Uploads a run's results below `url`.

    Args:
        url: the remote folder; its ``manifest.jsonl`` has paths relative to it, as a local run's has.
        folder: the run's folder on this machine.
        part: the manifest's name below ``manifest.d`` where several machines share the work, else "".
    """

    def __init__(self, url: str, folder: Path, part: str = "") -> None:
        self._url = url.rstrip("/")
        self._folder = folder
        self._manifest = f"{PARTS}/{part}.jsonl" if part else MANIFEST

    def adopt(self) -> None:
        """What the remote folder holds already: its manifest where there is none here; files that are gone are made
        again. The caller must be the folder's only user."""
        there = find_files(self._url)
        records = read_manifest(self._folder) if has_manifest(self._folder) else self._fetched(there)
        checked = {}
        for key, record in records.items():
            kept = {
                kind: path for kind, path in record.outputs.items() if not is_away(path) or self._below(path) in there
            }
            checked[key] = record if len(kept) == len(record.outputs) else replace(record, outputs=kept)
        fold(self._folder, checked)

    def take(self, records: Iterable[Record]) -> None:
        """Uploads the files of these records. Raises OutputError."""
        batch = [record for record in records if any(not is_away(path) for path in record.outputs.values())]
        files = [path for record in batch for path in record.outputs.values() if not is_away(path)]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="upload") as pool:
            list(pool.map(self._put, files))
        note(self._folder, (replace(record, outputs=self._away(record)) for record in batch))
        remove_files(self._folder, files)

    def finish(self) -> None:
        """What is left."""
        self.take(read_manifest(self._folder).values())

    def close(self) -> None:
        """The manifest as a local run would have it, and `run.json`; the caller must be the folder's only user."""
        records = fold(self._folder)
        lines = (self._local(records[key]).to_line() for key in sorted(records))
        write_remote(f"{self._url}/{self._manifest}", "".join(lines).encode("ascii"))
        for path in sorted(self._folder.glob("run*.json")):
            write_remote(f"{self._url}/{path.name}", path.read_bytes())

    def _put(self, path: str) -> None:
        write_remote(f"{self._url}/{path}", (self._folder / path).read_bytes())

    def _below(self, url: str) -> str:
        return url.removeprefix(self._url + "/")

    def _away(self, record: Record) -> dict[str, str]:
        return {kind: path if is_away(path) else f"{self._url}/{path}" for kind, path in record.outputs.items()}

    def _local(self, record: Record) -> Record:
        return replace(record, outputs={kind: self._below(path) for kind, path in record.outputs.items()})

    def _fetched(self, there: Iterable[str]) -> dict[str, Record]:
        """The records of the remote manifest and its parts, outputs as URLs."""
        names = sorted(name for name in there if name == MANIFEST or name.startswith(PARTS + "/"))
        found: dict[str, Record] = {}
        for name in sorted(names, key=lambda name: name != MANIFEST):
            try:
                text = read_remote(f"{self._url}/{name}")
            except PhotoError:  # gone since it was listed
                continue
            copy = self._folder / "fetched.jsonl"
            write_atomic(copy, text)
            for record in read_part(copy).values():
                found[record.key] = replace(record, outputs=self._away(record))
            copy.unlink()
        return found
