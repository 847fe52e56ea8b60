"""The stream: read ahead, work in batches, write behind, note what is done; stop cleanly whatever happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.engine.events import OnEvent, RunSummary, Tally
from pipelines.engine.loader import PhotoStream, Reader
from pipelines.engine.lock import Hold, only_run
from pipelines.engine.places import check_places, refuse_foreign_files, remove_half_written
from pipelines.engine.reader import Loaded, Task
from pipelines.engine.resume import Ledger, divide, face_keys
from pipelines.engine.source import Listing, Photo, take_part
from pipelines.engine.work import Work, WorkFace
from pipelines.engine.writer import Result, Writer
from pipelines.errors import OutputError, UsageError
from pipelines.images import write_atomic
from pipelines.manifest import ManifestWriter, Record, has_manifest, merge_parts, part_files, read_manifest
from pipelines.specs import RunSpec

UNALIGNED = 0.1  # share of the side; see `stages.align.misalignment`


@dataclass(frozen=True)
class Job:
    """A run, ready to start: nothing has been loaded yet.

    Attributes:
        command: align, invert or edit.
        spec: the options.
        listing: what INPUT means.
        identity: everything but the input that decides the outputs, hashed.
        kinds: the outputs that every item must have; `paste_kinds`: those of items whose place in a photo is known.
        tops: folders that the run fills; None: keys at the top.
        make_reader: picklable; builds the reader in the decoding process.
        make_work: builds what stands between reader and writer (loads no model yet).
        workers: decoding processes.
        about: what `run.json` says beyond counts (device, versions, weights).
    """

    command: str
    spec: RunSpec
    listing: Listing
    identity: str
    kinds: tuple[str, ...]
    make_reader: Callable[[], Reader]
    make_work: Callable[[], Work]
    tops: frozenset[str] | None = None
    paste_kinds: tuple[str, ...] = ()
    workers: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> tuple[Photo, ...]:
        """This run's photos; raises UsageError where the folders cannot be meant so."""
        spec, photos = self.spec, self.listing.photos
        check_places(spec.input, spec.output, photos, self.tops)
        if not spec.resume and not spec.overwrite and has_manifest(spec.output):
            raise UsageError(f"'{spec.output}' holds an earlier run; drop --no-resume, or use --overwrite")
        if not spec.overwrite:
            kinds = self.kinds if self.tops else ()
            planned = kinds or tuple(f"{photo.key}.{spec.format}" for photo in photos)
            refuse_foreign_files(spec.output, planned)
        return take_part(photos, spec.limit, spec.shard)

    def divide(self, photos: tuple[Photo, ...]) -> tuple[Ledger, list[Task], list[tuple[Photo, int]]]:
        """The ledger of the output folder, what is to do, and what is done."""
        records = read_manifest(self.spec.output)
        ledger = Ledger(self.spec.output, records, self.identity, self.kinds, self.paste_kinds)
        return ledger, *divide(photos, ledger, self.spec.overwrite, self.spec.retry_failed)


def run_job(job: Job, on_event: OnEvent | None = None) -> RunSummary:
    """Does what is not done yet, and says what became of it.

    Raises:
        UsageError: folders that cannot be meant, or another run in the output folder.
        OutputError: the output cannot be written; what was finished is noted.
        KeyboardInterrupt: passed on after what was finished has been noted.
    """
    photos = job.check()
    started = time.time()
    summary = RunSummary(job.command, str(job.spec.output))
    with only_run(job.spec.output, job.spec.shard) as hold:
        _tidy(job.spec.output, hold)
        ledger, tasks, finished = job.divide(photos)
        run = _Run(job, ledger, tasks, Tally(summary, on_event))
        run.announce(finished)
        try:
            if tasks:
                run.stream()
        except BaseException:
            summary.complete = False
            raise
        finally:
            summary.seconds = round(time.time() - started, 3)
            if tasks or not (job.spec.output / "run.json").exists():
                _write_run_file(job, summary, started)
        _merge(job.spec.output, hold)
        run.tally.tell("end")
    return summary


class _Run:
    """The moving parts of one run."""

    def __init__(self, job: Job, ledger: Ledger, tasks: list[Task], tally: Tally) -> None:
        self.tally = tally
        self._job = job
        self._ledger = ledger
        self._tasks = tasks
        self._unaligned: list[str] = []
        self._faceless: list[str] = []

    def announce(self, finished: list[tuple[Photo, int]]) -> None:
        """Tells what is there and what is done already."""
        self.tally.start(len(self._tasks) + sum(items for _, items in finished))
        for note in self._job.listing.notes:
            self.tally.warn(note)
        self.tally.summary.skipped = sum(items for _, items in finished)
        if not self._tasks:
            self.tally.tell("item")

    def stream(self) -> None:
        """Reads, works and writes until everything is done or something stops the run; then all is flushed."""
        spec = self._job.spec
        stream = PhotoStream(self._tasks, self._job.make_reader, self._job.workers)  # forks: before any model
        try:
            manifest = ManifestWriter(spec.output, _part(spec.shard))
            writer = Writer(spec.output, manifest)
            try:
                self._pump(stream, writer)
            finally:
                writer.close()
                self._count(writer)
                with suppress(OSError):
                    manifest.close()
            writer.check()
        finally:
            stream.close()
            self._warn(stream)

    def _pump(self, stream: PhotoStream, writer: Writer) -> None:
        work = self._job.make_work()
        for loaded in stream:
            for result in self._results(work, loaded):
                writer.submit(result)
            if not self._count(writer):
                return
        for result in work.flush():
            writer.submit(result)
        self._stale = getattr(work, "stale", 0)

    def _results(self, work: Work, loaded: Loaded) -> Iterator[Result]:
        """One photo's way: failed, found unchanged, or face by face into the work."""
        photo = self._tasks[loaded.index].photo
        if loaded.failure is not None:
            fingerprint = self._ledger.fingerprint(photo, loaded.digest)
            source = Record(photo.key, photo.path, loaded.digest, fingerprint=fingerprint, stat=loaded.stat)
            kept = self._ledger.kept(photo, photo.key, loaded.digest)
            yield Result(_with(source, status="failed", outputs=kept, ms=loaded.ms, error=loaded.failure))
        elif loaded.unchanged:
            yield from self._unchanged(photo, loaded)
        else:
            yield from self._faces(work, photo, loaded)

    def _unchanged(self, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        """The bytes are as before, only the file was touched or moved: noted, so that it is not read next time."""
        faces = int(self._ledger.records[photo.key].scores.get("faces", 1))
        for key in face_keys(photo.key, faces):
            yield Result(_with(self._ledger.records[key], source=photo.path, stat=loaded.stat, status="skipped-now"))

    def _faces(self, work: Work, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        keys = face_keys(photo.key, len(loaded.faces))
        self.tally.more(len(keys) - 1)
        for record in self._ledger.withdrawn(photo, len(keys)):
            yield Result(_with(record, status="skipped", outputs={}, fingerprint=""))
        for key, face in zip(keys, loaded.faces, strict=True):
            self._look(key, face.scores)
            missing = self._missing(photo, key, loaded.digest, face.quad is not None)
            if not missing:
                self.tally.skip(key)
                continue
            record = Record(
                key,
                photo.path,
                loaded.digest,
                quad=face.quad,
                scores={"faces": len(keys), **face.scores},
                outputs=self._kept(photo, key, loaded.digest),
                fingerprint=self._ledger.fingerprint(photo, loaded.digest),
                ms=loaded.ms,
                stat=loaded.stat,
            )
            yield from work.put(WorkFace(photo, face, record, missing))
