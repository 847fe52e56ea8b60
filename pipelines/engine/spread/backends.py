"""Where joblib sends the shards: processes of this machine (loky), or a dask cluster's workers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from pipelines.engine.spread.worker import ShardResult, ShardTask, begin_local, run_shard
from pipelines.errors import UsageError

SHARDS_PER_WORKER = 4  # of a cluster: its workers are not equally fast, and may come and go
CONNECT_SECONDS = 15
IDLE_SECONDS = 86_400  # a worker that waits for a slow input keeps its models


class WorkerDied(Exception):
    """A worker's process ended over its shard; the text says what is known of the reason."""


@dataclass(frozen=True)
class Backend:
    """Workers.

    Attributes:
        devices: computed on, by their names.
        workers: how many there are.
        shards: how many to divide the work into, where all of it is known.
    """

    devices: tuple[str, ...]
    workers: int
    shards: int

    def kill(self) -> None:
        """Ends the workers at once, where they are this run's own."""

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """The arguments of `joblib.Parallel`."""
        raise NotImplementedError
        yield


@dataclass(frozen=True)
class LokyBackend(Backend):
    """This machine: one process a device, ended when the pass is over (a GPU's memory is free again then).

    Attributes:
        claims: a folder where the processes note which device they have taken.
    """

    claims: str

    def kill(self) -> None:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        begin = (os.getpid(), max(1, _cores() // self.workers), self.claims, self.devices)
        local = {"idle_worker_timeout": IDLE_SECONDS, "initializer": begin_local, "initargs": begin}
        try:
            yield {"backend": "loky", "n_jobs": self.workers, "max_nbytes": None, **local}
        finally:
            self.kill()


@dataclass(frozen=True)
class DaskBackend(Backend):
    """A dask cluster whose workers see the run's folders under the same paths, and when the run lets go of its own.

    Attributes:
        client: connected to the scheduler.
    """

    client: Any

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """A shard's call is pure as far as dask is concerned: it may be sent again."""
        with joblib.parallel_config(backend="dask", client=self.client):
            yield {"n_jobs": -1}


@contextmanager
def open_backend(name: str, scheduler: str | None, devices: Sequence[str]) -> Iterator[Backend]:
    """What a spec's `backend`, `scheduler` and devices mean.

    Raises:
        UsageError: dask is not installed, or no scheduler answers at that address, or it has no workers.
    """
    if name == "loky":
        with tempfile.TemporaryDirectory(prefix="ganinv-") as claims:
            yield LokyBackend(tuple(devices), len(devices), len(devices), claims)
        return
    client = _connect(scheduler)
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise UsageError(f"the dask scheduler at '{scheduler}' has no workers; start some with `dask worker`")
        yield DaskBackend(tuple(devices[:1]), workers, SHARDS_PER_WORKER * workers, client)
    finally:
        with suppress(Exception):  # a scheduler that is gone has been told about already
            client.close()


def _connect(scheduler: str | None) -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError("--backend dask needs dask's scheduler: pip install 'ganinv[cluster]'") from None
    try:
        connect: Any = distributed.Client  # its own annotations stop here
        return connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at '{scheduler}' ({error}); start one, or correct it") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results(backend: Backend, tasks: Iterable[ShardTask], all_at_once: bool) -> Iterator[ShardResult]:
    """Sends the tasks out; gives each one's result as it comes back, in any order.

    Args:
        backend: where to.
        tasks: asked for one by one, by several threads in turn; must not raise.
        all_at_once: send all; else two for each process, and another when one comes back.

    Raises:
        WorkerDied: a process was killed; on one machine this ends all of them.
    """
    with backend.opened() as options:
        ahead = "all" if all_at_once else "2*n_jobs"
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead, **options)
        try:
            yield from parallel(joblib.delayed(run_shard)(task) for task in tasks)
        except BrokenProcessPool as error:
            raise WorkerDied(str(error).partition("\n")[0]) from None
        except Exception as error:
            if type(error).__name__ in ("KilledWorker", "LostRunError"):  # dask's; it need not be installed
                raise WorkerDied(f"{type(error).__name__}: {error}") from None
            raise
