"""The stream of one device: read ahead, work in batches, write behind, note what is done; all is flushed at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import replace

from pipelines.engine.events import Tally
from pipelines.engine.gate import Gate
from pipelines.engine.input.listing import Photo
from pipelines.engine.job import Job
from pipelines.engine.output.writer import Result, Writer
from pipelines.engine.reading.decoder import Decoder
from pipelines.engine.reading.decoder_pool import PhotoStream
from pipelines.engine.reading.reader import Loaded, LoadedFace, Task
from pipelines.engine.resume.ledger import Ledger, face_keys
from pipelines.engine.stage import Work, WorkFace
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.stages.align.aligner import ALIGNED_LIMIT

_LOOK_SECONDS = 0.05


def _never() -> bool:
    return False


class Stream:
    """The moving parts of one device's run.

    Args:
        job: what to do.
        ledger: what is known of the tasks' items.
        tasks: the photos to read, `index` counted from 0; taken as there is room, in another thread.
        tally: told of every item that ends.
        stop: asked now and then whether to end early.
    """

    def __init__(
        self, job: Job, ledger: Ledger, tasks: Iterable[Task], tally: Tally, stop: Callable[[], bool] = _never
    ) -> None:
        self.tally = tally
        self._job = job
        self._ledger = ledger
        self._tasks = tasks
        self._in_work: dict[int, Photo] = {}  # by the task's index, until its photo has been read
        self._stop = stop
        self._gate = Gate(job.spec.output)
        self._unaligned: list[str] = []
        self._faceless: list[str] = []
        self._stale = 0

    def run(
        self, make_work: Callable[[], Work], part: str, fork: bool = True, spare: list[Decoder] | None = None
    ) -> None:
        """Reads, works and writes until everything is done or something stops the run; then all is flushed.

        Args:
            make_work: called after the decoders have been started.
            part: the manifest's part to append to.
            fork: whether decoders may be forked (no model lives in this process yet).
            spare: decoders that an earlier stream of the same job left; see `PhotoStream`.
        """
        job = self._job
        workers = min(job.workers, len(self._tasks)) if isinstance(self._tasks, Sized) else job.workers
        stream = PhotoStream(self._taken(), job.make_reader, workers, job.spec.timeout, fork, spare)
        try:
            manifest = ManifestWriter(job.spec.output, part)
            writer = Writer(job.spec.output, manifest)
            try:
                self._pump(stream, writer, make_work())
            finally:
                writer.close()
                self._count(writer)
                manifest.close()
            writer.check()
        finally:
            stream.close()
            self._warn(stream)

    def _taken(self) -> Iterator[Task]:
        for task in self._tasks:
            self._in_work[task.index] = task.photo
            yield task

    def _pump(self, stream: PhotoStream, writer: Writer, work: Work) -> None:
        for loaded in stream:
            for result in self._results(work, loaded):
                writer.submit(result)
            self._count(writer)
            self._wait(writer)
            if self._stop():
                self.tally.summary.complete = False
                return
        for result in work.flush():
            writer.submit(result)
        self._stale = getattr(work, "stale", 0)

    def _wait(self, writer: Writer) -> None:
        """As long as results cannot be moved on (see `engine.gate`)."""
        while self._gate.closed() and not self._stop():
            time.sleep(_LOOK_SECONDS)
            self._count(writer)

    def _results(self, work: Work, loaded: Loaded) -> Iterator[Result]:
        """One photo's way: failed, found unchanged, or face by face into the work."""
        photo = self._in_work.pop(loaded.index)
        if loaded.failure is not None:
            self.tally.take(photo.key, 1)
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
        self.tally.take(photo.key, len(keys))
        self.tally.more(len(keys) - 1)
        for key in keys:
            record = replace(self._ledger.records[key], source=photo.path, stat=loaded.stat)
            yield Result(record, counts_as="skipped")

    def _faces(self, work: Work, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        keys = face_keys(photo.key, len(loaded.faces))
        self.tally.take(photo.key, len(keys))
        self.tally.more(len(keys) - 1)
        for record in self._ledger.withdrawn(photo, len(keys)):
            yield Result(replace(record, status="skipped", outputs={}, fingerprint="", error=None), counts_as="nothing")
        for key, face in zip(keys, loaded.faces, strict=True):
            self._look(key, face.scores.get("misalignment", 0.0))
            work_face = self._work_face(photo, key, loaded, face)
            if work_face.missing:
                yield from work.put(work_face)
            else:
                known = replace(self._ledger.records[key], source=photo.path, stat=loaded.stat)
                yield Result(known, counts_as="skipped")

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
