"""Where joblib sends the shares: processes of this machine (loky), or a dask cluster's workers."""

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

from pipelines.engine.spread.worker import Errand, Outcome, run_share
from pipelines.errors import UsageError

SHARES_PER_WORKER = 4  # of a cluster: its workers are not equally fast, and may come and go
CONNECT_SECONDS = 15
IDLE_SECONDS = 86_400  # a worker that waits for a slow input keeps its models


class WorkerDied(Exception):
    """A worker's process ended over its share; the text says what is known of the reason."""


@dataclass(frozen=True)
class Local:
    """This machine: one process a device, ended when the pass is over (a GPU's memory is free again then).

    Args:
        devices: their names.
        parent: this process.
        seats: a folder where the processes agree who computes on which.
    """

    devices: tuple[str, ...]
    parent: int | None
    seats: str

    @property
    def workers(self) -> int:
        return len(self.devices)

    @property
    def shares(self) -> int:
        return len(self.devices)

    @property
    def seated(self) -> tuple[str, ...]:
        """The devices that processes take for themselves."""
        return self.devices

    @property
    def threads(self) -> int:
        """Of torch, in each process: the cores divided."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // len(self.devices))

    def kill(self) -> None:
        """Ends the processes at once."""
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """The arguments of `joblib.Parallel`."""
        try:
            yield {
                "backend": "loky",
                "n_jobs": len(self.devices),
                "max_nbytes": None,
                "idle_worker_timeout": IDLE_SECONDS,
            }
        finally:
            self.kill()


@dataclass(frozen=True)
class Dask:
    """A dask cluster whose workers see the run's folders under the same paths.

    Args:
        client: connected to the scheduler.
        device: computed on by every worker.
    """

    client: Any
    device: str
    parent: None = None
    threads: None = None
    seated: tuple[str, ...] = ()
    seats: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        return (self.device,)

    @property
    def workers(self) -> int:
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def shares(self) -> int:
        return SHARES_PER_WORKER * self.workers

    def kill(self) -> None:
        """Nothing: the workers see that the run has let go of its folder, and other people's work may run there."""

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """As `Local.opened`; a share's call is pure as far as dask is concerned: it may be sent again."""
        with joblib.parallel_config(backend="dask", client=self.client):
            yield {"n_jobs": -1}


Site = Local | Dask


@contextmanager
def site(backend: str, scheduler: str | None, devices: Sequence[str]) -> Iterator[Site]:
    """The place that a spec's `backend`, `scheduler` and devices mean.

    Raises:
        UsageError: dask is not installed, or no scheduler answers at that address, or it has no workers.
    """
    if backend == "loky":
        with tempfile.TemporaryDirectory(prefix="ganinv-") as seats:
            yield Local(tuple(devices), os.getpid(), seats)
        return
    try:
        import distributed
    except ImportError:
        raise UsageError("--backend dask needs dask's scheduler: pip install 'ganinv[cluster]'") from None
    try:
        connect: Any = distributed.Client  # its own annotations stop here
        client = connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at '{scheduler}' ({error}); start one, or correct it") from None
    try:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise UsageError(f"the dask scheduler at '{scheduler}' has no workers; start some with `dask worker`")
        yield Dask(client, devices[0])
    finally:
        with suppress(Exception):  # a scheduler that is gone has been told about already
            client.close()


def outcomes(place: Site, errands: Iterable[Errand], all_at_once: bool) -> Iterator[Outcome]:
    """Sends the errands out; gives each one's outcome as it comes back, in any order.

    Args:
        place: where to.
        errands: asked for one by one, by several threads in turn; must not raise.
        all_at_once: send all; else two for each process, and another when one comes back.

    Raises:
        WorkerDied: a process was killed; on one machine this ends all of them.
    """
    with place.opened() as options:
        ahead = "all" if all_at_once else "2*n_jobs"
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead, **options)
        try:
            yield from parallel(joblib.delayed(run_share)(errand) for errand in errands)
        except BrokenProcessPool as error:
            raise WorkerDied(str(error).partition("\n")[0]) from None
        except Exception as error:
            if type(error).__name__ in ("KilledWorker", "LostRunError"):  # dask's; it need not be installed
                raise WorkerDied(f"{type(error).__name__}: {error}") from None
            raise
