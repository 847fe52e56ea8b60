"""A run over several processes: shards go out, what is finished is read from the manifest, and deaths are dealt with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pipelines.engine.events import Progress
from pipelines.engine.job import Job
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.spread.backends import Backend, open_backend
from pipelines.engine.spread.dispatch import Sending
from pipelines.engine.spread.in_flight import is_done
from pipelines.engine.spread.shard import Shard, divide_among, shards_of
from pipelines.engine.spread.shard_queue import ShardQueue
from pipelines.engine.spread.worker import ShardResult
from pipelines.engine.types import Task
from pipelines.errors import GanInvError
from pipelines.records.manifest import Record


class Distributor:
    """The tasks of a run over all its devices, or a cluster's workers.

    A worker that dies costs the photos that it had taken up: they are named, left to the next run (one of them may be
    what killed it), and the run is not `complete`. Everything else goes on.

    Args:
        job: the run.
        progress: told of every item, from the thread that calls `run`.
        too_many: asked after every item whether to end early.
    """

    def __init__(self, job: Job, progress: Progress, too_many: Callable[[], bool]) -> None:
        self._job = job
        self._progress = progress
        self._too_many = too_many
        self._lost: set[str] = set()  # photos that a dead worker had taken up

    def run(self, ledger: Ledger, tasks: Iterable[Task]) -> None:
        """Does the tasks; raises what stopped a worker on purpose (`GanInvError`), once all have ended.

        Args:
            ledger: what is known of the tasks' items.
            tasks: all of them in a sequence, to be divided evenly; or found as they are asked for, and then sent in
                growing shards of `items_per_shard` photos at most.
        """
        spec = self._job.spec
        with open_backend(spec.backend, spec.scheduler, self._job.devices) as backend:
            shards = ShardQueue(_shards(tasks, ledger, backend, spec.items_per_shard))
            again: list[Shard] | None = []
            try:
                while again is not None:
                    with Sending(self._job, backend, shards, again) as sending:
                        self._follow(sending)
                        again = self._settle_dead(sending, ledger, backend)
            finally:
                shards.end()
            shards.check()

    def _follow(self, sending: Sending) -> None:
        """Tells what comes, until every shard has come back or a worker has died."""
        trouble: GanInvError | None = None
        for result in sending:
            for record, shard in sending.records():
                self._tell(record, shard)
            if result is not None:
                self._came_back(result)
                sending.settle(result)
                trouble = trouble or result.trouble
            if trouble is not None or self._too_many():  # a full disk is full for all of them
                sending.stop()
        if trouble is not None:
            raise trouble

    def _tell(self, record: Record, shard: Shard | None) -> None:
        if record.status == "skipped":  # an earlier item that is withdrawn
            return
        if shard is not None and record.key not in shard.photos:  # a photo turned out to hold several faces
            self._progress.add(1)
        before = shard.records.get(record.key) if shard is not None else None
        if before and record.status == "ok" and replace(record, source=before.source, stat=before.stat) == before:
            self._progress.skip(record.key)  # only its file was touched or moved
        else:
            self._progress.finish(record)

    def _came_back(self, result: ShardResult) -> None:
        self._progress.warn(*result.warnings)
        if result.lost:
            self._report_lost(result.lost, "another took over the rest of its shard")

    def _settle_dead(self, sending: Sending, ledger: Ledger, backend: Backend) -> list[Shard] | None:
        """What is to be sent again where a worker died, before the rest of the queue; None: nothing and no rest."""
        if not sending.death:
            return None
        sending.end()  # the dead one's neighbours may have finished a photo meanwhile
        for record, shard in sending.records():
            self._tell(record, shard)
        out = sending.tasks_out()
        done, lost = sending.left()
        self._report_lost(lost, sending.death)
        left = [task for task in out if not (task.photo.key in self._lost or is_done(task.photo.key, done))]
        if (len(left) == len(out) and not sending.returned) or self._too_many():
            return None  # it died before it took anything: it would again
        known = self._job.ledger({**ledger.part(task.photo for task in left), **done})
        return divide_among(left, known, backend.devices, backend.shards)

    def _report_lost(self, photos: Sequence[str], reason: str) -> None:
        self._lost.update(photos)
        self._progress.summary.complete = False
        named = ", ".join(repr(key) for key in photos[:5]) + (", ..." if len(photos) > 5 else "")
        self._progress.warn(
            f"a worker process died ({reason}); {len(photos)} photos were in work and are left to the next run"
            + (f": {named}" if photos else "")
        )


def _shards(tasks: Iterable[Task], ledger: Ledger, backend: Backend, most: int) -> Iterable[Shard]:
    if isinstance(tasks, Sequence):
        return divide_among(tasks, ledger, backend.devices, backend.shards)
    return shards_of(tasks, ledger, backend.devices, backend.workers, most)
