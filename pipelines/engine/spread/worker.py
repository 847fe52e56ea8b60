"""One shard of a run, in a process of its own: its own decoders, its own models, its own part of the manifest."""

from __future__ import annotations

import math
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import torch

from pipelines.devices import keep_freed_memory
from pipelines.engine.events import RunSummary
from pipelines.engine.job import Job
from pipelines.engine.parent_watch import ParentWatch
from pipelines.engine.pipeline import Pipeline
from pipelines.engine.reading.decoder import Decoder
from pipelines.engine.spread.device_claim import claim_device
from pipelines.engine.spread.in_flight import InFlight, is_done, left_by, stop_file
from pipelines.engine.spread.shard import Shard, renumbered
from pipelines.engine.stage import Work
from pipelines.errors import GanInvError
from pipelines.records.run_lock import WorkerLock

_WATCH_SECONDS = 0.25


@dataclass(frozen=True)
class ShardTask:
    """What a worker is sent to do; `token` is the sending's: workers' files in `manifest.d` begin with it.

    The job travels without its listing.
    """

    job: Job
    shard: Shard
    token: str


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard; its items are in the manifest's parts.

    Attributes:
        number: the shard's.
        warnings: sentences for a person.
        lost: photos over which an earlier worker died that had this shard; they were left out.
        trouble: what a user must hear, and why the shard was not finished.
    """

    number: int
    warnings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    trouble: GanInvError | None = None


class ModelCache:
    """What a process keeps from one shard of a sending to the next: its models, and (`decoders`) those who decode."""

    def __init__(self) -> None:
        self.work: Work | None = None
        self.decoders: list[Decoder] = []
        self._key = ""

    def keep_for(self, key: str) -> None:
        """Begins with nothing where the last shard was of another sending, or for another device."""
        if key != self._key:
            self.clear()
            self._key = key

    def open(self, job: Job, device: str) -> Work:
        """The models, loaded where they are not."""
        self.work = self.work or job.make_work(device)
        return self.work

    def clear(self) -> None:
        self.work = None
        while self.decoders:
            self.decoders.pop().end()


_own_device: str | None = None  # of a worker of this machine, which ends with its parent; None on a cluster
_models = ModelCache()
_turn = threading.Lock()  # cluster workers may run several calls at once; the models here serve one


def begin_local(parent: int, threads: int, claims: str, devices: Sequence[str]) -> None:
    """The first that a worker beside its parent does: a parent that dies before the first shard is noticed, too.

    Args:
        parent: its process id.
        threads: of torch.
        claims, devices: as of `claim_device`.
    """
    global _own_device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    ParentWatch(parent).start()
    torch.set_num_threads(threads)
    _own_device = claim_device(claims, devices)


def run_shard(task: ShardTask) -> ShardResult:
    """Does a shard. What a user must hear comes back as a value; a bug raises."""
    keep_freed_memory()  # before any thread begins
    summary, lost, trouble = RunSummary("", str(task.job.spec.output)), list[str](), None
    with _turn:
        try:
            _do(task, summary, lost)
        except GanInvError as error:
            _models.clear()
            trouble = error
        except BaseException:
            _models.clear()
            raise
    return ShardResult(task.shard.number, tuple(summary.warnings), tuple(lost), trouble)


def _do(task: ShardTask, summary: RunSummary, lost: list[str]) -> None:
    spec, attempts, device = task.job.spec, f"{task.token}-{task.shard.number:04d}", _own_device or task.shard.device
    name = f"{attempts}-{secrets.token_hex(3)}"
    with closing(WorkerLock(spec.output, spec.shard)) as lock:
        shard = _left_over(task, attempts, lost)
        if not shard.tasks:
            return
        with closing(InFlight(spec.output, name, summary)) as progress:
            ledger = task.job.ledger(shard.records)
            stream = Pipeline(task.job, ledger, shard.tasks, progress, _stop(task, lock, summary))
            _models.keep_for(f"{task.token} {device}")
            # Those of a cluster's worker would stay for ever: nobody tells it that the run has ended.
            spare = _models.decoders if _own_device else None
            stream.run(partial(_models.open, task.job, device), name, fork=_models.work is None, spare=spare)


def _left_over(task: ShardTask, attempts: str, lost: list[str]) -> Shard:
    """The shard without what earlier attempts at it did, and without the photos (`lost`) over which they died.

    A cluster sends the call of a dead worker to another one.
    """
    shard = task.shard
    done, died_over = left_by(task.job.spec.output, attempts)
    lost += died_over
    left = [t for t in shard.tasks if t.photo.key not in died_over and not is_done(t.photo.key, done)]
    return replace(shard, tasks=renumbered(left), records={**shard.records, **done})


def _stop(task: ShardTask, lock: WorkerLock, summary: RunSummary) -> Callable[[], bool]:
    """Asked whether to end early: the parent says so, or (a cluster's) is gone, or too many items have failed.

    The parent counts failures over all workers, but a second late; one worker's own are known at once.
    """
    spec, file = task.job.spec, stop_file(task.job.spec.output, task.token)
    next_look = 0.0

    def stop() -> bool:
        nonlocal next_look
        if spec.max_errors is not None and summary.failed >= spec.max_errors:
            return True
        if time.monotonic() < next_look:  # a network disk may take its time
            return next_look == math.inf
        found = file.exists() or (_own_device is None and lock.abandoned())
        next_look = math.inf if found else time.monotonic() + _WATCH_SECONDS
        return found

    return stop
