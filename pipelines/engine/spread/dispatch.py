"""One sending of shards to the workers: what they note comes in meanwhile, and what a dead one left is known."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from types import TracebackType

from pipelines.engine.input.listing import Listing
from pipelines.engine.job import Job, nothing
from pipelines.engine.spread.backends import Backend, LokyBackend, WorkerDied, results
from pipelines.engine.spread.in_flight import clear_in_flight, left_by, stop_file
from pipelines.engine.spread.shard import Shard
from pipelines.engine.spread.shard_queue import ShardQueue
from pipelines.engine.spread.worker import ShardResult, ShardTask
from pipelines.engine.types import Task
from pipelines.records.manifest import Record
from pipelines.records.manifest_tail import NewRecords

_LOOK_SECONDS = 0.2
STOP_SECONDS = 60.0  # how long workers may take over their batches after a stop


class Sending:
    """A pass over the workers, with its own names in `manifest.d`; a context, which leaves no worker behind.

    Iterate over it from one thread: it gives each shard's result, and None now and then, until all have come back or a
    worker has died; raises what went wrong otherwise.

    Args:
        job: the run.
        backend: where the workers are.
        shards: what is to be sent.
        again: what goes before it.
        all_at_once: as of `backends.results`.

    Attributes:
        returned: shards that came back.
        death: why a worker died.
    """

    def __init__(
        self, job: Job, backend: Backend, shards: ShardQueue, again: Sequence[Shard], all_at_once: bool
    ) -> None:
        self.returned = 0
        self.death: str | None = None
        self._backend, self._output = backend, job.spec.output
        self._token = secrets.token_hex(4)
        self._records = NewRecords(self._output, f"{self._token}-*", skip=False)
        self._shards, self._again, self._all_at_once = shards, again, all_at_once
        self._bare = replace(job, listing=Listing(), prepare=nothing)  # workers need neither, and a listing is large
        self._out: dict[int, Shard] = {}
        self._closed = threading.Event()
        self._back: queue.SimpleQueue[ShardResult | BaseException | None] = queue.SimpleQueue()
        self._courier = threading.Thread(target=self._send, name="shards", daemon=True)

    def __enter__(self) -> Sending:
        self._courier.start()
        return self

    def __iter__(self) -> Iterator[ShardResult | None]:
        while self._courier.is_alive() or not self._back.empty():
            try:
                back = self._back.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                back = None
            if isinstance(back, WorkerDied):
                self.death = str(back)
            elif isinstance(back, BaseException):
                raise back
            yield back if isinstance(back, ShardResult) else None
        yield None  # for what was noted last

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What is finished is noted, then no worker is left: Ctrl-C may have come."""
        if self._courier.is_alive():
            self.stop()
            self._courier.join(STOP_SECONDS)
            self._backend.kill()
        clear_in_flight(self._output, self._token)

    def records(self) -> Iterator[tuple[Record, Shard | None]]:
        """What workers have noted since the last call, with its shard (None: back already)."""
        for part, record in self._records.by_part():
            yield record, self._out.get(int(part.split("-")[1]))

    def settle(self, result: ShardResult) -> None:
        """A shard has come back; `records` must have been asked for what it noted."""
        if result.trouble is None:
            self.returned += 1
            self._out.pop(result.number)
            if isinstance(self._backend, LokyBackend):  # from a network disk some records may come late
                self._records.retire(f"{self._name(result.number)}-*")

    def stop(self) -> None:
        """No more shards; the workers end with what they have in hand."""
        self._closed.set()
        with suppress(OSError):  # on a full disk they stop by themselves
            stop_file(self._output, self._token).touch()

    def tasks_out(self) -> list[Task]:
        """What was sent and did not come back, in order."""
        return [task for number in sorted(self._out) for task in self._out[number].tasks]

    def left(self) -> tuple[dict[str, Record], list[str]]:
        """As `in_flight.left_by`, of the shards that did not come back."""
        done, lost = dict[str, Record](), list[str]()
        for number in self._out:
            finished, unfinished = left_by(self._output, self._name(number))
            done, lost = done | finished, lost + unfinished
        return done, lost

    def _name(self, number: int) -> str:
        return f"{self._token}-{number:04d}"

    def _tasks(self) -> Iterator[ShardTask]:
        for number, shard in enumerate(chain(self._again, self._shards.shards(self._closed))):
            self._out[number] = shard = replace(shard, number=number)
            yield ShardTask(self._bare, shard, self._token)

    def _send(self) -> None:
        try:
            for result in results(self._backend, self._tasks(), self._all_at_once):
                self._back.put(result)
        except BaseException as error:
            self._back.put(error)
        finally:
            self._closed.set()  # a late thread of joblib's takes no more shards
