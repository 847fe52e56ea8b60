"""One sending of shards to the workers: what they note comes in meanwhile, and what a dead one left is known."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType

from pipelines.engine.input.streaming import Listing
from pipelines.engine.job import Job, nothing
from pipelines.engine.spread.backends import Backend, died_of, is_cut_off
from pipelines.engine.spread.in_flight import clear_in_flight, left_by, stop_file
from pipelines.engine.spread.shard import Shard
from pipelines.engine.spread.shard_queue import ShardQueue
from pipelines.engine.spread.worker import ShardResult, ShardTask, run_shard
from pipelines.engine.types import Task
from pipelines.errors import ClusterError
from pipelines.records.manifest import Record
from pipelines.records.manifest_tail import NewRecords

_LOOK_SECONDS = 0.2
_AHEAD = 2  # shards sent for each worker, so that none waits for its next
STOP_SECONDS = 60.0  # how long workers may take over their batches after a stop


class Sending:
    """A pass over the workers, with its own names in `manifest.d`; a context, which leaves no worker behind.

    Iterate over it: it gives each shard's result, and None now and then, until all have come back or a worker has died
    (then the others end what they have); raises what went wrong otherwise.

    Args:
        job: the run.
        backend: where the workers are.
        shards: what is to be sent.
        again: what goes before it.

    Attributes:
        returned: shards that came back.
        death: why a worker died; "": none did.
    """

    def __init__(self, job: Job, backend: Backend, shards: ShardQueue, again: Sequence[Shard]) -> None:
        self.returned = 0
        self.death = ""
        self._backend, self._output = backend, job.spec.output
        self._token = secrets.token_hex(4)
        self._records = NewRecords(self._output, f"{self._token}-*", skip=False)
        self._shards, self._again = shards, list(again)
        self._bare = replace(job, listing=Listing(), prepare=nothing)  # workers need neither, and a listing is large
        self._out: list[Shard | None] = []  # by their numbers; None: back already
        self._futures: dict[Future[ShardResult], int] = {}
        self._closed = False
        self._opened = ExitStack()

    def __enter__(self) -> Sending:
        self._executor: Executor = self._opened.enter_context(self._backend.opened())
        return self

    def __iter__(self) -> Iterator[ShardResult | None]:
        while self._send() or self._futures:
            for future in wait(self._futures, _LOOK_SECONDS, FIRST_COMPLETED).done:
                del self._futures[future]
                try:
                    yield future.result()
                except Exception as error:
                    self._note_death(error)
            yield None
        yield None  # for what was noted last

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What is finished is noted, then no worker is left: Ctrl-C may have come."""
        with self._opened:
            if self._futures:
                self.stop()
                wait(self._futures, STOP_SECONDS)
        clear_in_flight(self._output, self._token)

    def records(self) -> Iterator[tuple[Record, Shard | None]]:
        """What workers have noted since the last call, with its shard (None: back already)."""
        for part, record in self._records.by_part():
            yield record, self._out[int(part.split("-")[1])]

    def settle(self, result: ShardResult) -> None:
        """A shard has come back; `records` must have been asked for what it noted."""
        if result.trouble is None:
            self.returned += 1
            self._out[result.number] = None
            if self._backend.local:  # from a network disk some records may come late
                self._records.retire(f"{self._name(result.number)}-*")

    def stop(self) -> None:
        """No more shards; the workers end with what they have in hand."""
        self._closed = True
        with suppress(OSError):  # on a full disk they stop by themselves
            stop_file(self._output, self._token).touch()

    def end(self) -> None:
        """Leaves no worker of the run's own: whatever they have noted, `records` and `left` give it."""
        self._opened.close()

    def tasks_out(self) -> list[Task]:
        """What was sent and did not come back, in order."""
        return [task for shard in self._out if shard is not None for task in shard.tasks]

    def left(self) -> tuple[dict[str, Record], list[str]]:
        """As `in_flight.left_by`, of the shards that did not come back."""
        done, lost = dict[str, Record](), list[str]()
        for shard in filter(None, self._out):
            finished, unfinished = left_by(self._output, self._name(shard.number))
            done, lost = done | finished, lost + unfinished
        return done, lost

    def _name(self, number: int) -> str:
        return f"{self._token}-{number:04d}"

    def _send(self) -> bool:
        """Sends what is found and the workers have room for; False: there is no more to send."""
        while not self._closed and len(self._futures) < _AHEAD * self._backend.workers:
            idle = 0.0 if self._futures else _LOOK_SECONDS
            found = self._again.pop(0) if self._again else self._shards.take(idle)
            if found is None:
                break
            shard = replace(found, number=len(self._out))
            self._out.append(shard)
            try:
                future = self._executor.submit(run_shard, ShardTask(self._bare, shard, self._token))
            except Exception as error:
                self._note_death(error)
            else:
                self._futures[future] = shard.number
        return not self._closed and not self._shards.over

    def _note_death(self, error: Exception) -> None:
        """A worker died: no more is sent. Raises what is no death."""
        if not self._backend.local and is_cut_off(error):
            raise ClusterError(
                "the dask scheduler went away; what is finished is kept: start it again, then run the same command to go on"
            ) from None
        reason = died_of(error)
        if not reason:
            raise error
        self.death = self.death or reason
        self._closed = True
