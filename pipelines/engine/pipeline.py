"""The stream of one device: read ahead, work in batches, write behind, note what is done; all is flushed at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace

from pipelines.engine.events import Progress
from pipelines.engine.job import Job
from pipelines.engine.output.transfer import Gate
from pipelines.engine.output.writer import Writer
from pipelines.engine.reading.decoder import Decoder
from pipelines.engine.reading.decoder_pool import DecoderPool
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.stage import Work
from pipelines.engine.types import FaceJob, Loaded, PastePlace, Result, Task
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.records.photos import Origin, Photo, face_keys
from pipelines.run_specs import RunSpec
from pipelines.specs import EditSpec
from pipelines.stages.align.aligner import ALIGNED_LIMIT
from pipelines.stages.paste import PhotoStyle
from pipelines.types import Failure

_LOOK_SECONDS = 0.05
# Said once of all faces that it is true of.
_UNALIGNED = "{faces} are not placed as the generator expects; run with --align"
_FACELESS = "no face was found in {faces}; the result is a guess"
_HOMELESS = (
    "{faces} are not pasted: they are crops, and no run of align says of which photo; "
    "give the folder that align wrote, or the photos with --align"
)


class Pipeline:
    """The moving parts of one device's run.

    Args:
        job: what to do.
        ledger: what is known of the tasks' items.
        tasks: the photos to read, `index` counted from 0; taken as there is room, in another thread.
        progress: told of every item that ends.
        stop: asked now and then whether to end early.
    """

    def __init__(
        self, job: Job, ledger: Ledger, tasks: Iterable[Task], progress: Progress, stop: Callable[[], bool]
    ) -> None:
        self.progress = progress
        self._job = job
        self._ledger = ledger
        self._tasks = tasks
        self._in_work: dict[int, Photo] = {}  # by the task's index, until its photo has been read
        self._stop = stop
        self._gate = Gate(job.spec.output)
        self._pasting = any(output.per == "photo" for output in job.outputs)
        self._noted: dict[str, list[str]] = {}  # what is to be said of photos or faces -> their keys
        self._stale = 0
        self._missed: Mapping[str, int] = {}

    def run(
        self, make_work: Callable[[], Work], part: str, fork: bool = True, spare: list[Decoder] | None = None
    ) -> None:
        """Reads, works and writes until everything is done or something stops the run; then all is flushed.

        Args:
            make_work: called after the decoders have been started.
            part: the manifest's part to append to.
            fork: whether decoders may be forked (no model lives in this process yet).
            spare: decoders that an earlier stream of the same job left; see `DecoderPool`.
        """
        job = self._job
        workers = min(job.workers, len(self._tasks)) if isinstance(self._tasks, Sized) else job.workers
        stream = DecoderPool(self._taken(), job.make_reader, workers, job.spec.timeout, fork, spare)
        try:
            manifest = ManifestWriter(job.spec.output, part)
            writer = Writer(job.spec.output, manifest, _style(job.spec))
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

    def _pump(self, stream: DecoderPool, writer: Writer, work: Work) -> None:
        for loaded in stream:
            for result in self._results(work, loaded):
                writer.submit(result)
            self._count(writer)
            self._wait(writer)
            if self._stop():
                self.progress.summary.complete = False
                return
        for result in work.flush():
            writer.submit(result)
        self._stale = getattr(work, "stale", 0)
        self._missed = getattr(work, "missed", {})

    def _wait(self, writer: Writer) -> None:
        """As long as results cannot be moved on (see `output.transfer.Gate`)."""
        while self._gate.closed() and not self._stop():
            time.sleep(_LOOK_SECONDS)
            self._count(writer)

    def _results(self, work: Work, loaded: Loaded) -> Iterator[Result]:
        """One photo's way: failed, found unchanged, or face by face into the work."""
        photo = self._in_work.pop(loaded.index)
        if loaded.failure is not None:
            self.progress.take(photo.key, 1)
            yield self._failed(photo, loaded)
        elif loaded.unchanged:
            yield from self._unchanged(photo, loaded)
        else:
            yield from self._faces(work, photo, loaded)

    def _failed(self, photo: Photo, loaded: Loaded) -> Result:
        record = self._ledger.kept(photo, photo.key, loaded.digest, placed=False)
        record = replace(record, status="failed", ms=loaded.ms, error=loaded.failure, stat=loaded.stat)
        return Result(record, place=self._place(photo, 0, 1, photo.origin))

    def _unchanged(self, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        """The bytes are as before, only the file was touched or moved: noted, so that it is not read next time."""
        keys = face_keys(photo.key, self._ledger.records[photo.key].faces)
        self.progress.take(photo.key, len(keys))
        self.progress.add(len(keys) - 1)
        for key in keys:
            record = replace(self._ledger.records[key], source=photo.path, stat=loaded.stat)
            yield Result(record, counts_as="skipped")

    def _faces(self, work: Work, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        keys = face_keys(photo.key, len(loaded.faces))
        self.progress.take(photo.key, len(keys))
        self.progress.add(len(keys) - 1)
        for note in loaded.notes:
            self._note(f"{note}: {{photos}}", photo.key)
        for record in self._ledger.withdrawn(photo, len(keys)):
            gone = replace(record, status="skipped", outputs={}, fingerprint="", prints={}, error=None)
            yield Result(gone, counts_as="nothing")
        for place, (key, face) in enumerate(zip(keys, loaded.faces, strict=True)):
            if (misalignment := face.scores.get("misalignment", 0.0)) > ALIGNED_LIMIT:
                self._note(_FACELESS if math.isinf(misalignment) else _UNALIGNED, key)
            job = self._job_of(photo, key, loaded, place)
            known = self._ledger.records.get(key)
            if not job.idle:
                yield from work.put(job)
            elif job.missing or known is None:  # without edits in the run's plan
                yield Result(job.record, place=job.place)
            else:
                yield Result(replace(known, source=photo.path, stat=loaded.stat), counts_as="skipped")
        yield from self._beyond(photo, loaded)

    def _beyond(self, photo: Photo, loaded: Loaded) -> Iterator[Result]:
        """Failed items for the faces that the run's plan names and the photo does not have."""
        lacking = self._job.plan.beyond(photo, len(loaded.faces)) if self._job.plan is not None else []
        self.progress.add(len(lacking))
        for number in lacking:
            message = f"the plan names face {number} (from 0), and the photo has {len(loaded.faces)}"
            failure = Failure("plan", "no-such-face", message)
            yield Result(Record(f"{photo.key}.{number}", photo.path, loaded.digest, status="failed", error=failure))

    def _job_of(self, photo: Photo, key: str, loaded: Loaded, place: int) -> FaceJob:
        """What is known of a face before the work; finished kinds are kept, unless everything is done again."""
        ledger, face, digest, faces = self._ledger, loaded.faces[place], loaded.digest, len(loaded.faces)
        placed = face.quad is not None
        if self._job.spec.overwrite:
            record, missing = Record(key, photo.path, digest), ledger.wanted(photo, key, digest, placed)
        else:
            record = ledger.kept(photo, key, digest, placed)
            missing = ledger.missing(photo, key, digest, placed, faces)
        scores = {"faces": faces, **face.scores}
        record = replace(record, quad=face.quad, scores=scores, ms=loaded.ms, notes=loaded.notes, stat=loaded.stat)
        record = replace(record, found=face.found)
        pasted = any(output.per == "photo" for output in missing)
        origin = Origin(photo.path, digest, face.quad) if face.quad else photo.origin
        if origin is None and self._pasting:
            self._note(_HOMELESS, key)
        return FaceJob(face, record, missing, self._place(photo, place, faces, origin) if pasted else None, place)

    def _place(self, photo: Photo, place: int, faces: int, origin: Origin | None) -> PastePlace | None:
        """Where a face is pasted: one of a photo's that was read just now, or a crop of a group."""
        if origin is None or not self._pasting:
            return None
        keys = [key for key, _ in photo.group]
        if keys:
            return PastePlace(keys[0], keys.index(photo.key), len(keys), origin)
        return PastePlace(photo.key, place, faces, origin)

    def _count(self, writer: Writer) -> None:
        for result in writer.finished():
            if result.counts_as == "done":
                self.progress.finish(result.record)
            elif result.counts_as == "skipped":
                self.progress.skip(result.record.key)

    def _note(self, sentence: str, key: str) -> None:
        self._noted.setdefault(sentence, []).append(key)

    def _warn(self, stream: DecoderPool) -> None:
        self.progress.warn(*stream.notes)
        for sentence, keys in self._noted.items():
            shown = ", ".join(repr(key) for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
            for what in ("faces", "photos"):
                sentence = sentence.replace(f"{{{what}}}", f"{len(keys)} {what} ({shown})")
            self.progress.warn(sentence)
        if self._stale:
            self.progress.warn(
                f"{self._stale} codes that were found are not used and made anew: they are damaged, or of another method, "
                "other weights or other pixels than this run's"
            )
        for edit, count in sorted(self._missed.items()):
            if count:
                self.progress.warn(
                    f"{edit} was not reached on {count} faces, which go as far as their range allows; the manifest's scores "
                    f"'{edit}:...' have what was asked and what was reached"
                )


def _style(spec: RunSpec) -> PhotoStyle | None:
    return PhotoStyle(spec.paste_format, spec.keep_gps, spec.provenance) if isinstance(spec, EditSpec) else None
