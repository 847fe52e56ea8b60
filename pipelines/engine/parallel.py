"""A run over several processes: shares go out, their journals come in, and what a dead worker left is dealt with."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipelines.engine.cluster import Site, WorkerDied, outcomes, site
from pipelines.engine.events import Tally
from pipelines.engine.job import Job, nothing
from pipelines.engine.journal import InWork, Journals, News, is_done, remove_journals
from pipelines.engine.reader import Task
from pipelines.engine.resume import Ledger
from pipelines.engine.shard import divide_among
from pipelines.engine.source import Listing
from pipelines.engine.worker import Errand
from pipelines.errors import GanInvError
from pipelines.manifest import PARTS, Record, read_manifest, read_part

_LOOK_SECONDS = 0.2
STOP_SECONDS = 60.0  # how long workers may take over their batches after a stop
_END = object()


class Spread:
    """The tasks of a run over all its devices, or a cluster's workers.

    A worker that dies costs the photos that it had taken up: they are named, left to the next run (one of them may be
    what killed it), and the run is not `complete`. Everything else goes on.

    Args:
        job: the run.
        tally: told of every item, from the thread that calls `run`.
        too_many: asked after every item whether to end early.
    """

    def __init__(self, job: Job, tally: Tally, too_many: Callable[[], bool]) -> None:
        self._job = job
        self._tally = tally
        self._too_many = too_many
        self._left: set[str] = set()  # photos that a dead worker had taken up
        self._warned: set[str] = set()

    def run(self, ledger: Ledger, tasks: Sequence[Task]) -> None:
        """Does the tasks; raises what stopped a worker on purpose (`GanInvError`), once all have ended."""
        spec = self._job.spec
        with site(spec.backend, spec.scheduler, self._job.devices) as place:
            while tasks:
                step = _Pass(self._job, place, ledger, tasks)
                try:
                    died = step.run(self._take, self._too_many)
                    if died is None:
                        return
                    done = step.done()
                    self._bury(step.in_work, done, died)
                finally:
                    step.clear()
                left = [task for task in tasks if not (task.photo.key in self._left or is_done(task.photo.key, done))]
                if len(left) == len(tasks) or self._too_many():  # it died before it took anything: it would again
                    return
                ledger, tasks = self._job.ledger(read_manifest(spec.output)), left

    def _take(self, news: News) -> None:
        kind, tally = news["kind"], self._tally
        if kind == "end":
            tally.ended(news["key"], news["code"], news["message"])
        elif kind == "skip":
            tally.skip(news["key"], news["items"])
        elif kind == "more":
            tally.more(news["items"])
        elif kind == "died":
            self._mourn(news["keys"], "another took over the rest of its share")
        elif kind == "warn" and news["message"] not in self._warned:
            self._warned.add(news["message"])
            tally.warn(news["message"])

    def _bury(self, in_work: InWork, done: Mapping[str, Record], reason: str) -> None:
        noted, lost = in_work.settle(done)
        for record in noted:
            self._tally.end(record)
        self._mourn(lost, reason)

    def _mourn(self, photos: Sequence[str], reason: str) -> None:
        self._left.update(photos)
        self._tally.summary.complete = False
        named = ", ".join(repr(key) for key in photos[:5]) + (", ..." if len(photos) > 5 else "")
        self._tally.warn(
            f"a worker process died ({reason}); {len(photos)} photos were in work and are left to the next run"
            + (f": {named}" if photos else "")
        )


class _Pass:
    """One sending out of shares, with its own names in `manifest.d`."""

    def __init__(self, job: Job, place: Site, ledger: Ledger, tasks: Sequence[Task]) -> None:
        self.in_work = InWork()
        self._output = job.spec.output
        self._token = secrets.token_hex(4)
        self._journals = Journals(self._output, self._token)
        self._place = place
        shares = divide_among(tasks, ledger, place.devices, place.shares)
        bare = replace(job, listing=Listing(()), prepare=nothing)  # workers need neither, and a listing is large
        self._errands = [Errand(bare, share, self._token, place.parent, place.threads) for share in shares]
        self._back: queue.SimpleQueue[GanInvError | BaseException | object | None] = queue.SimpleQueue()

    def run(self, take: Callable[[News], None], too_many: Callable[[], bool]) -> str | None:
        """Until every share has come back; None, or why a worker died."""
        courier = threading.Thread(target=self._send, name="shares", daemon=True)
        courier.start()
        try:
            failure = self._follow(take, too_many)
        except BaseException:  # Ctrl-C: what is finished is to be noted
            self._journals.stop()
            courier.join(STOP_SECONDS)
            self._place.kill()
            raise
        courier.join()
        if isinstance(failure, WorkerDied):
            return str(failure)
        if failure is not None:
            raise failure
        return None

    def done(self) -> dict[str, Record]:
        """What the workers of this pass have noted."""
        records: dict[str, Record] = {}
        for path in (self._output / PARTS).glob(f"{self._token}-*.jsonl"):
            records |= read_part(path)
        return records

    def clear(self) -> None:
        remove_journals(self._output, self._token)

    def _send(self) -> None:
        try:
            for outcome in outcomes(self._place, self._errands):
                self._back.put(outcome)
        except BaseException as error:
            self._back.put(error)
        finally:
            self._back.put(_END)

    def _follow(self, take: Callable[[News], None], too_many: Callable[[], bool]) -> BaseException | None:
        """Passes the journals' news on while the shares are out; the first thing that went wrong, or None."""
        failure: BaseException | None = None
        while True:
            try:
                back = self._back.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                back = None
            for news in self._journals.news():
                self.in_work.see(news)
                take(news)
            if back is _END:
                return failure
            if isinstance(back, BaseException):
                failure = failure or back
            if isinstance(back, GanInvError) or too_many():  # a full disk is full for all of them
                self._journals.stop()
