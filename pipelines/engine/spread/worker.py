"""One share of a run, in a process of its own: its own decoders, its own models, its own part of the manifest."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pipelines.devices import keep_freed_memory
from pipelines.engine.job import Job
from pipelines.engine.output.run_lock import WorkerHold
from pipelines.engine.pipeline import Stream
from pipelines.engine.reading.decoder import Decoder
from pipelines.engine.spread.device_claim import take_seat
from pipelines.engine.spread.event_log import InWork, Journals, JournalTally, is_done
from pipelines.engine.spread.shard import Share, renumbered
from pipelines.engine.stage import Work
from pipelines.errors import GanInvError
from pipelines.records.manifest import PARTS, Record, read_part

_WATCH_SECONDS = 0.25
_ORPHANED = 70  # exit status of a worker whose parent is gone; nobody is left to read it


@dataclass(frozen=True)
class Errand:
    """What a worker is sent to do.

    Attributes:
        job: the run's, without its listing.
        share: the photos.
        token: of the pass; workers' files in `manifest.d` begin with it.
        parent: process id of the parent where it runs on the same machine; None: ask the folder's lock.
        threads: of torch; None: as they are.
        devices: one for each process of the same machine, which takes one of them and keeps it; none: the share's.
        seats: the folder where processes note which they have taken.
    """

    job: Job
    share: Share
    token: str
    parent: int | None = None
    threads: int | None = None
    devices: tuple[str, ...] = ()
    seats: str = ""

    @property
    def device(self) -> str:
        """What this process computes on."""
        return take_seat(self.seats, self.devices) if self.devices else self.share.device


@dataclass(frozen=True)
class Outcome:
    """What became of the share of this number; `trouble`: what a user must hear, and why it was not finished."""

    number: int
    trouble: GanInvError | None = None


class _Bench:
    """What a process keeps from one share of a pass to the next: its models, and (`decoders`) those who decode."""

    def __init__(self) -> None:
        self.work: Work | None = None
        self.decoders: list[Decoder] = []
        self._key = ""

    def turn_to(self, key: str) -> None:
        """Begins with nothing where the last share was of another pass, or for another device."""
        if key != self._key:
            self.clear()
            self._key = key

    def clear(self) -> None:
        self.work = None
        while self.decoders:
            self.decoders.pop().end()


class _Kin:
    """Ends this process when its parent is gone, also between shares: an idle one would keep models and memory for ever.

    A killed parent's queues do not tell: every worker holds both ends of them.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def watch(self, parent: int) -> None:
        """From the first call on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=(parent,), name="kin", daemon=True)
            self._thread.start()

    @staticmethod
    def _look(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(_ORPHANED)  # the next run may be waiting, and a batch can take minutes


_kin = _Kin()
_turn = threading.Lock()  # cluster workers may run several calls at once; the models here serve one
_bench = _Bench()


def run_share(errand: Errand) -> Outcome:
    """Does a share. What a user must hear comes back as a value; a bug raises."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    keep_freed_memory()  # before any thread begins
    if errand.parent is not None:
        _kin.watch(errand.parent)
    if errand.threads is not None:
        torch.set_num_threads(errand.threads)
    with _turn:
        try:
            _do(errand)
        except GanInvError as error:
            _bench.clear()
            return Outcome(errand.share.number, error)
        except BaseException:
            _bench.clear()
            raise
    return Outcome(errand.share.number)


def _do(errand: Errand) -> None:
    output, share = errand.job.spec.output, errand.share
    attempts = f"{errand.token}-{share.number:04d}"
    name = f"{attempts}-{secrets.token_hex(3)}"
    with closing(WorkerHold(output, errand.job.spec.shard)) as hold, closing(JournalTally(output, name)) as tally:
        share = _left_over(output, attempts, share, tally)
        if not share.tasks:
            return
        ledger = errand.job.ledger(share.records)
        with closing(_Watch(errand, hold)) as watch:
            stream = Stream(errand.job, ledger, share.tasks, tally, partial(_must_stop, errand, tally, watch))
            _bench.turn_to(f"{errand.token} {errand.device}")
            # Those of a cluster's worker would stay for ever: nobody tells it that the run has ended.
            spare = _bench.decoders if errand.devices else None
            stream.run(partial(_work, errand), name, fork=_bench.work is None, spare=spare)


def _must_stop(errand: Errand, tally: JournalTally, watch: _Watch) -> bool:
    """The parent counts failures over all workers, but a second late; one worker's own are known at once."""
    limit = errand.job.spec.max_errors
    return watch.stopped() or (limit is not None and tally.summary.failed >= limit)


def _work(errand: Errand) -> Work:
    if _bench.work is None:
        _bench.work = errand.job.make_work(errand.device)
    return _bench.work


def _left_over(output: Path, attempts: str, share: Share, tally: JournalTally) -> Share:
    """The share without what earlier attempts at it did, and without the photos over which their process died.

    A cluster sends the call of a dead worker to another one. The photos that were in work are left out: one of them
    may be what killed the process.
    """
    done: dict[str, Record] = {}
    for part in (output / PARTS).glob(f"{attempts}-*.jsonl"):
        done |= read_part(part)
    in_work = InWork()
    for news in Journals(output, attempts).news():
        in_work.see(news)
    noted, lost = in_work.settle(done)
    for record in noted:
        tally.end(record)
    if done or lost:
        tally.died(lost)
    skip = set(lost)
    tasks = [task for task in share.tasks if task.photo.key not in skip and not is_done(task.photo.key, done)]
    return replace(share, tasks=renumbered(tasks), records={**share.records, **done})


class _Watch:
    """A thread that looks whether the parent has called for a stop, or, of a cluster's worker, is gone."""

    def __init__(self, errand: Errand, hold: WorkerHold) -> None:
        self._parent, self._hold = errand.parent, hold
        self._journals = Journals(errand.job.spec.output, errand.token)
        self._stop, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def stopped(self) -> bool:
        return self._stop.is_set()

    def close(self) -> None:
        """Before the hold is let go: the thread asks it."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_WATCH_SECONDS):
            if self._journals.stopped() or (self._parent is None and self._hold.abandoned()):
                self._stop.set()
