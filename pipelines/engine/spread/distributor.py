"""A run over several processes: shares go out, their journals come in, and what a dead worker left is dealt with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.engine.events import Tally
from pipelines.engine.job import Job
from pipelines.engine.reading.reader import Task
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.spread.backends import Site, site
from pipelines.engine.spread.dispatch import Sending
from pipelines.engine.spread.event_log import InWork, News, is_done
from pipelines.engine.spread.shard import Share, divide_among, shares_of
from pipelines.engine.spread.shard_queue import Feed
from pipelines.records.manifest import Record


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

    def run(self, ledger: Ledger, tasks: Iterable[Task]) -> None:
        """Does the tasks; raises what stopped a worker on purpose (`GanInvError`), once all have ended.

        Args:
            ledger: what is known of the tasks' items.
            tasks: all of them in a sequence, to be divided evenly; or found as they are asked for, and then sent in
                growing shares of `items_per_shard` photos at most, two for each worker at a time.
        """
        spec = self._job.spec
        with site(spec.backend, spec.scheduler, self._job.devices) as place:
            feed = Feed(_shares(tasks, ledger, place, spec.items_per_shard))
            again: list[Share] | None = []
            try:
                while again is not None:
                    sending = Sending(self._job, place, feed, again, isinstance(tasks, Sequence))
                    again = self._send(sending, ledger, place)
            finally:
                feed.end()
            feed.check()

    def _send(self, sending: Sending, ledger: Ledger, place: Site) -> list[Share] | None:
        """One pass; None: that was all. Else a worker died: what is to be sent again, before the rest of the feed."""
        try:
            died = sending.run(self._take, self._too_many)
            if died is None:
                return None
            done, out = sending.done(), sending.out()
            self._bury(sending.in_work, done, died)
        finally:
            sending.clear()
        left = [task for task in out if not (task.photo.key in self._left or is_done(task.photo.key, done))]
        if (len(left) == len(out) and not sending.returned) or self._too_many():
            return None  # it died before it took anything: it would again
        known = self._job.ledger({**ledger.part(task.photo for task in left), **done})
        return divide_among(left, known, place.devices, place.shares)

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


def _shares(tasks: Iterable[Task], ledger: Ledger, place: Site, most: int) -> Iterable[Share]:
    if isinstance(tasks, Sequence):
        return divide_among(tasks, ledger, place.devices, place.shares)
    return shares_of(tasks, ledger, place.devices, place.workers, most)
