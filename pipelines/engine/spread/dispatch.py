"""One sending out of shares to the workers: their journals come in meanwhile, and what a dead worker left is known."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from pipelines.engine.input.listing import Listing
from pipelines.engine.job import Job, nothing
from pipelines.engine.reading.reader import Task
from pipelines.engine.spread.backends import Site, WorkerDied, outcomes
from pipelines.engine.spread.event_log import InWork, Journals, News, remove_journals
from pipelines.engine.spread.shard import Share
from pipelines.engine.spread.shard_queue import Feed
from pipelines.engine.spread.worker import Errand, Outcome
from pipelines.errors import GanInvError
from pipelines.records.manifest import PARTS, Record, read_part

_LOOK_SECONDS = 0.2
STOP_SECONDS = 60.0  # how long workers may take over their batches after a stop
_END = object()


class Sending:
    """A pass over the workers, with its own names in `manifest.d`.

    Args:
        job: the run.
        place: where the workers are.
        feed: the shares.
        again: those that go before them.
        all_at_once: as of `cluster.outcomes`.

    Attributes:
        in_work: what the workers have taken up.
        returned: shares that came back.
    """

    def __init__(self, job: Job, place: Site, feed: Feed, again: Sequence[Share], all_at_once: bool) -> None:
        self.in_work = InWork()
        self.returned = 0
        self._place = place
        self._output = job.spec.output
        self._token = secrets.token_hex(4)
        self._journals = Journals(self._output, self._token)
        self._feed, self._again, self._all_at_once = feed, again, all_at_once
        self._bare = replace(job, listing=Listing(), prepare=nothing)  # workers need neither, and a listing is large
        self._out: dict[int, Share] = {}
        self._closed = threading.Event()
        self._back: queue.SimpleQueue[Outcome | BaseException | object | None] = queue.SimpleQueue()

    def run(self, take: Callable[[News], None], too_many: Callable[[], bool]) -> str | None:
        """Until every share has come back; None, or why a worker died."""
        courier = threading.Thread(target=self._send, name="shares", daemon=True)
        courier.start()
        try:
            failure = self._follow(take, too_many)
        except BaseException:  # Ctrl-C: what is finished is to be noted
            self._stop()
            courier.join(STOP_SECONDS)
            self._place.kill()
            raise
        courier.join()
        self._closed.set()  # a late thread of joblib's takes no more shares
        if isinstance(failure, WorkerDied):
            return str(failure)
        if failure is not None:
            raise failure
        return None

    def out(self) -> list[Task]:
        """What was sent and did not come back, in order."""
        return [task for number in sorted(self._out) for task in self._out[number].tasks]

    def done(self) -> dict[str, Record]:
        """What the workers have noted of the shares that did not come back."""
        records: dict[str, Record] = {}
        for number in self._out:
            for path in (self._output / PARTS).glob(f"{self._token}-{number:04d}-*.jsonl"):
                records |= read_part(path)
        return records

    def clear(self) -> None:
        """Removes the journals."""
        remove_journals(self._output, self._token)

    def _errands(self) -> Iterator[Errand]:
        place = self._place
        for number, share in enumerate(chain(self._again, self._feed.shares(self._closed))):
            self._out[number] = share = replace(share, number=number)
            yield Errand(self._bare, share, self._token, place.parent, place.threads, place.seated, place.seats)

    def _send(self) -> None:
        try:
            for outcome in outcomes(self._place, self._errands(), self._all_at_once):
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
            if isinstance(back, Outcome):
                failure = failure or self._came_back(back)
            if isinstance(back, BaseException):
                failure = failure or back
            if isinstance(failure, GanInvError) or too_many():  # a full disk is full for all of them
                self._stop()

    def _came_back(self, outcome: Outcome) -> GanInvError | None:
        if outcome.trouble is None:
            self.returned += 1
            self._out.pop(outcome.number)
            if self._place.parent is not None:  # on this machine: over a network disk some news may be late
                self._journals.retire(outcome.number)
        return outcome.trouble

    def _stop(self) -> None:
        self._closed.set()
        self._journals.stop()
