"""Where the shards are computed: processes of this machine (joblib's loky), or a dask cluster's workers.

Both are executors in the sense of `concurrent.futures`, so that the rest of a run need not know which.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from pipelines.devices import cores
from pipelines.engine.spread.worker import begin_local
from pipelines.errors import UsageError

SHARDS_PER_WORKER = 4  # of a cluster: its workers are not equally fast, and may come and go
CONNECT_SECONDS = 15
IDLE_SECONDS = 86_400  # a worker that waits for a slow input keeps its models
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Backend:
    """Workers.

    Attributes:
        devices: computed on, by their names.
        workers: how many there are.
        shards: how many to divide the work into, where all of it is known.
        opened: their executor for one pass; processes of this run's own are ended at once when it is left.
        local: they write to a disk of this machine.
    """

    devices: tuple[str, ...]
    workers: int
    shards: int
    opened: Callable[[], AbstractContextManager[Executor]]
    local: bool


@contextmanager
def open_backend(name: str, scheduler: str | None, devices: Sequence[str]) -> Iterator[Backend]:
    """What a spec's `backend`, `scheduler` and devices mean.

    Raises:
        UsageError: dask is not installed, or no scheduler answers at that address, or it has no workers.
    """
    if name == "loky":
        with tempfile.TemporaryDirectory(prefix="ganinv-") as claims:
            count = len(devices)
            yield Backend(tuple(devices), count, count, partial(_processes, tuple(devices), claims), local=True)
        return
    client = _connect(scheduler)
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise UsageError(f"the dask scheduler at '{scheduler}' has no workers; start some with `dask worker`")
        # Not pure: a shard's call is not to be known again by its arguments (it may be sent again all the same).
        executor: Executor = client.get_executor(pure=False)
        shards = SHARDS_PER_WORKER * workers
        yield Backend(tuple(devices[:1]), workers, shards, lambda: nullcontext(executor), local=False)
    finally:
        with suppress(Exception):  # a scheduler that is gone has been told about already
            client.close()


@contextmanager
def _processes(devices: tuple[str, ...], claims: str) -> Iterator[Executor]:
    """One process a device, ended with the pass: a GPU's memory is free again then.

    Args:
        claims: a folder where the processes note which device they have taken.
    """
    threads = max(1, cores() // len(devices))
    executor = ProcessPoolExecutor(
        len(devices),
        timeout=IDLE_SECONDS,
        initializer=begin_local,
        initargs=(os.getpid(), threads, claims, devices),
        env={name: os.environ.get(name, str(threads)) for name in _THREADS},
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _connect(scheduler: str | None) -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError("--backend dask needs dask's scheduler: pip install 'ganinv[cluster]'") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # else its traceback before our sentence
    try:
        connect: Any = distributed.Client  # its own annotations stop here
        return connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at '{scheduler}' ({error}); start one, or correct it") from None


def is_cut_off(error: BaseException) -> bool:
    """Whether a cluster's client gave up its shards since no scheduler answers any more: nobody here cancels any."""
    return isinstance(error, CancelledError) or type(error).__name__ in ("CommClosedError", "ClosedClientError")


def died_of(error: BaseException) -> str:
    """What is known of why a worker's process ended over its shard, of which this came; "" where none ended."""
    if isinstance(error, BrokenProcessPool):
        return str(error).partition("\n")[0]
    # dask's; it need not be installed.
    return f"KilledWorker: {error}" if type(error).__name__ == "KilledWorker" else ""
