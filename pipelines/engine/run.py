"""The stream: read ahead, work in batches, write behind, note what is done; stop cleanly whatever happens."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipelines.engine.events import OnEvent, RunSummary, Tally
from pipelines.engine.job import Job
from pipelines.engine.loader import PhotoStream
from pipelines.engine.lock import Hold, only_run
from pipelines.engine.places import remove_half_written
from pipelines.engine.reader import Loaded, LoadedFace, Task
from pipelines.engine.resume import Ledger, face_keys
from pipelines.engine.source import Photo
from pipelines.engine.work import Work, WorkFace
from pipelines.engine.writer import Result, Writer
from pipelines.errors import OutputError
from pipelines.images import write_atomic
from pipelines.manifest import ManifestWriter, Record, merge_parts, part_files
from pipelines.stages.align import ALIGNED_LIMIT


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
                job.prepare()
                run.stream()
        except BaseException:
            summary.complete = False
            with suppress(OutputError):  # the disk may be full: what stopped the run is what must be told
                _close(job, summary, started)
            raise
        summary.seconds = round(time.time() - started, 3)
        if tasks:  # a run that had nothing to do leaves no trace
            _close(job, summary, started)
        _merge(job.spec.output, hold)
        run.tally.tell("end")
    return summary


def _close(job: Job, summary: RunSummary, started: float) -> None:
    summary.seconds = round(time.time() - started, 3)
    _write_run_file(job, summary, started)


class _Run:
    """The moving parts of one run."""

    def __init__(self, job: Job, ledger: Ledger, tasks: list[Task], tally: Tally) -> None:
        self.tally = tally
        self._job = job
        self._ledger = ledger
        self._tasks = tasks
        self._unaligned: list[str] = []
        self._faceless: list[str] = []
        self._stale = 0

    def announce(self, finished: list[tuple[Photo, int]]) -> None:
        """Tells what is there and what is done already."""
        items = sum(count for _, count in finished)
        self.tally.summary.skipped = items
        self.tally.start(len(self._tasks) + items)
        for note in self._job.listing.notes:
            self.tally.warn(note)

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
            self._count(writer)
            if self._too_many_errors():
                self.tally.summary.complete = False
                self.tally.warn(f"stopped after {self.tally.summary.failed} failed items (--max-errors)")
                return
        for result in work.flush():
            writer.submit(result)
        self._stale = getattr(work, "stale", 0)

    def _results(self, work: Work, loaded: Loaded) -> Iterator[Result]:
        """One photo's way: failed, found unchanged, or face by face into the work."""
        photo = self._tasks[loaded.index].photo
        if loaded.failure is not None:
            yield Result(self._failed(photo, loaded))
        elif loaded.unchanged:
            yield from self._unchanged(photo, loaded)
        else:
            yield from self._faces(work, photo, loaded)

    def _failed(self, photo: Photo, loaded: Loaded) -> Record:
        return Record(
            photo.key,
            photo.path,
            loaded.digest,
            "failed",
            outputs=self._ledger.kept(photo, photo.key, loaded.digest),
            fingerprint=self._ledger.fingerprint(photo, loaded.digest) if loaded.digest else "",
            ms=loaded.ms,
            error=loaded.failure,
            stat=loaded.stat,
        )

    def _unchanged(self, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        """The bytes are as before, only the file was touched or moved: noted, so that it is not read next time."""
        keys = face_keys(photo.key, int(self._ledger.records[photo.key].scores.get("faces", 1)))
        self.tally.more(len(keys) - 1)
        for key in keys:
            record = replace(self._ledger.records[key], source=photo.path, stat=loaded.stat)
            yield Result(record, counts_as="skipped")

    def _faces(self, work: Work, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        keys = face_keys(photo.key, len(loaded.faces))
        self.tally.more(len(keys) - 1)
        for record in self._ledger.withdrawn(photo, len(keys)):
            yield Result(replace(record, status="skipped", outputs={}, fingerprint="", error=None), counts_as="nothing")
        for key, face in zip(keys, loaded.faces, strict=True):
            self._look(key, face.scores.get("misalignment", 0.0))
            work_face = self._work_face(photo, key, loaded, face)
            if work_face.missing:
                yield from work.put(work_face)
            else:
                self.tally.skip(key)

    def _work_face(self, photo: Photo, key: str, loaded: Loaded, face: LoadedFace) -> WorkFace:
        """What is known of a face before the work; finished kinds are kept, unless everything is done again."""
        ledger, placed, digest = self._ledger, face.quad is not None, loaded.digest
        again = self._job.spec.overwrite
        missing = ledger.wanted(photo, placed) if again else ledger.missing(photo, key, digest, placed)
        record = Record(
            key,
            photo.path,
            digest,
            outputs={} if again else ledger.kept(photo, key, digest),
            quad=face.quad,
            scores={"faces": len(loaded.faces), **face.scores},
            fingerprint=ledger.fingerprint(photo, digest),
            ms=loaded.ms,
            stat=loaded.stat,
        )
        return WorkFace(photo, face, record, missing)

    def _count(self, writer: Writer) -> None:
        for result in writer.finished():
            if result.counts_as == "done":
                self.tally.end(result.record)
            elif result.counts_as == "skipped":
                self.tally.skip(result.record.key)

    def _too_many_errors(self) -> bool:
        limit = self._job.spec.max_errors
        return limit is not None and self.tally.summary.failed >= limit

    def _look(self, key: str, misalignment: float) -> None:
        if misalignment > ALIGNED_LIMIT:
            (self._faceless if math.isinf(misalignment) else self._unaligned).append(key)

    def _warn(self, stream: PhotoStream) -> None:
        for note in stream.notes:
            self.tally.warn(note)
        if self._unaligned:
            self.tally.warn(f"{_named(self._unaligned)} not placed as the generator expects; run with --align")
        if self._faceless:
            self.tally.warn(f"no face was found in {_named(self._faceless, '')}; the result is a guess")
        if self._stale:
            self.tally.warn(f"{self._stale} codes on disk belong to other pixels, methods or weights; made anew")


def _named(keys: list[str], verb: str = " are") -> str:
    shown = ", ".join(repr(key) for key in keys[:3])
    return f"{len(keys)} faces ({shown}{', ...' if len(keys) > 3 else ''}){verb}"


def _part(shard: tuple[int, int] | None) -> str:
    return f"{shard[0]}-of-{shard[1]}" if shard else "run"


def _tidy(output: Path, hold: Hold) -> None:
    """What a killed run left: half-written files go, its manifest part is folded in."""
    if hold.alone:
        if part_files(output):
            remove_half_written(output)
            merge_parts(output)
        hold.share()


def _merge(output: Path, hold: Hold) -> None:
    """The last run in the folder merges; other shards' parts wait for theirs."""
    if hold.try_alone():
        merge_parts(output)


def _write_run_file(job: Job, summary: RunSummary, started: float) -> None:
    body = {
        "command": job.command,
        "spec": job.spec.model_dump(mode="json"),
        **job.about,
        "counts": {name: getattr(summary, name) for name in ("ok", "failed", "skipped", "total")},
        "failures": summary.failures,
        "warnings": summary.warnings,
        "complete": summary.complete,
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": summary.seconds,
    }
    shard = job.spec.shard
    name = "run.json" if shard is None else f"run.{_part(shard)}.json"
    write_atomic(job.spec.output / name, (json.dumps(body, indent=2) + "\n").encode())
