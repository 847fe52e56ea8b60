"""One run from its folder's lock to its summary: what is done already, the stream or streams, the merged manifest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path

from pipelines.devices import keep_freed_memory
from pipelines.engine.events import OnEvent, Progress, RunSummary
from pipelines.engine.input.streaming import StreamedPhotos
from pipelines.engine.job import Job, nothing
from pipelines.engine.output.checks import remove_half_written
from pipelines.engine.output.transfer import Gate
from pipelines.engine.pipeline import Pipeline
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.spread.distributor import Distributor
from pipelines.engine.spread.in_flight import clear_in_flight
from pipelines.engine.types import Task
from pipelines.errors import OutputError
from pipelines.files import write_atomic
from pipelines.records.manifest import merge_parts, part_files
from pipelines.records.run_lock import RunLock, exclusive_run


@dataclass(frozen=True)
class _Start:
    """When a run began: the day for its papers, durations by a clock that nobody sets."""

    day: datetime = field(default_factory=lambda: datetime.now(UTC))
    tick: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return round(time.monotonic() - self.tick, 3)


def run_job(job: Job, on_event: OnEvent | None = None) -> RunSummary:
    """Does what is not done yet, and says what became of it.

    Raises:
        UsageError: folders that cannot be meant, or another run in the output folder.
        OutputError: the output cannot be written; what was finished is noted.
        KeyboardInterrupt: passed on after what was finished has been noted.
    """
    keep_freed_memory()  # before any thread begins
    photos = job.check()
    start = _Start()
    summary = RunSummary(job.command, str(job.spec.output))
    with exclusive_run(job.spec.output, job.spec.shard) as lock:
        damaged = _tidy(job.spec.output, lock)
        progress = Progress(summary, on_event)
        plan = _plan(job, photos, progress)
        progress.warn(*damaged)
        try:
            if plan.tasks:
                job.prepare()
                _work(job, plan, progress)
        except BaseException:
            summary.complete = False
            with suppress(OutputError):  # the disk may be full: what stopped the run is what must be told
                _write_run_file(job, summary, start)
            raise
        _tell_unseen(photos.unseen, progress)
        summary.seconds = start.seconds()
        if plan.tasks:  # a run that had nothing to do leaves no trace
            _write_run_file(job, summary, start)
        _merge(job.spec.output, lock, sweep=not summary.complete)
        progress.tell("end")
    return summary


@dataclass(frozen=True)
class _Plan:
    """What is known, what is to do (false where nothing is), and what tells of photos that come up meanwhile."""

    ledger: Ledger
    tasks: Sequence[Task] | chain[Task]
    look: Callable[[], None] = nothing


def _plan(job: Job, photos: StreamedPhotos, progress: Progress) -> _Plan:
    """All tasks, or of a large or slow input the first, and the others as they are found."""
    ledger, pending = job.pending(photos)
    first = pending.rest() if photos.whole else list(islice(pending, 1))
    pending.tell(progress)
    progress.start(progress.summary.total)
    progress.warn(*_notes(job, ledger))
    return _Plan(ledger, first if photos.whole or not first else chain(first, pending), partial(pending.tell, progress))


def _here(job: Job) -> bool:
    return job.spec.backend == "loky" and len(job.devices) == 1


def _notes(job: Job, ledger: Ledger) -> Sequence[str]:
    """What the job warns of, what was left out of the listing, and what is damaged in the manifest."""
    return [*job.warnings, *job.listing.notes, *getattr(ledger.records, "notes", ())]


def _work(job: Job, plan: _Plan, progress: Progress) -> None:
    """Here for one device; in other processes for several, or for a cluster."""

    def too_many() -> bool:
        plan.look()
        return _too_many_errors(job, progress)

    try:
        if _here(job):
            stream = Pipeline(job, plan.ledger, plan.tasks, progress, too_many)
            stream.run(partial(job.make_work, job.devices[0]), job.spec.part or "run")
        else:
            Distributor(job, progress, too_many).run(plan.ledger, plan.tasks)
    finally:
        plan.look()
        progress.warn(*_notes(job, plan.ledger))


def _tell_unseen(unseen: Sequence[str], progress: Progress) -> None:
    """The keys of the plan that the input does not have."""
    progress.summary.unknown = len(unseen)
    if unseen:
        named = ", ".join(repr(key) for key in unseen[:3]) + (", ..." if len(unseen) > 3 else "")
        keys = "1 key of the plan is" if len(unseen) == 1 else f"{len(unseen)} keys of the plan are"
        progress.warn(f"{keys} not in the input ({named}); a key is a path below it")


def _too_many_errors(job: Job, progress: Progress) -> bool:
    limit, failed = job.spec.max_errors, progress.summary.failed
    if limit is None or failed < limit:
        return False
    if progress.summary.complete:
        progress.summary.complete = False
        progress.warn(f"stopped after {failed} failed items (--max-errors)")
    return True


def _tidy(output: Path, lock: RunLock) -> list[str]:
    """What a killed run left: half-written files go, its manifest parts are folded in. Gives what is damaged in them."""
    damaged: list[str] = []
    if lock.alone:
        Gate(output).open()
        clear_in_flight(output)
        if part_files(output):
            remove_half_written(output)
            merge_parts(output, damaged)
        lock.share()
    return damaged


def _merge(output: Path, lock: RunLock, sweep: bool) -> None:
    """The last run in the folder merges; other shards' parts wait for theirs.

    Args:
        sweep: a worker may have died while it wrote. The next run would not look: it finds no parts after this.
    """
    if lock.try_alone():
        if sweep:
            remove_half_written(output)
        merge_parts(output)


def _write_run_file(job: Job, summary: RunSummary, start: _Start) -> None:
    summary.seconds = start.seconds()
    body = {
        "command": job.command,
        "spec": job.spec.model_dump(mode="json"),
        **job.about,
        "counts": {name: getattr(summary, name) for name in ("ok", "failed", "skipped", "total")},
        "failures": summary.failures,
        "warnings": summary.warnings,
        "complete": summary.complete,
        "started": start.day.isoformat(timespec="seconds"),
        "seconds": summary.seconds,
    }
    name = f"run.{job.spec.part}.json" if job.spec.part else "run.json"
    write_atomic(job.spec.output / name, (json.dumps(body, indent=2) + "\n").encode())
