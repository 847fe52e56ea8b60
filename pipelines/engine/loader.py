"""Photos read ahead of the device by a few processes, in order, a bounded number at a time.

A thread drives torch's DataLoader, so that waiting for a decoder never stops the device and a decoder that dies
raises where it is handled: the photos that were in flight are read again one by one in a fresh process, and only the
one that kills its process again is recorded as failed.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

from pipelines.engine.reader import Loaded, Task
from pipelines.errors import GanInvError
from pipelines.types import Failure

T = TypeVar("T")
Reader = Callable[[Task], Loaded]
PREFETCH = 2  # photos in flight per process
CLOSE_SECONDS = 10.0
_DIED = "DataLoader worker (pid"  # how torch begins the sentence on a process that was killed


class _Photos(Dataset[Loaded | GanInvError]):
    """The tasks as torch sees them; the reader is built in the process that uses it."""

    def __init__(self, tasks: Sequence[Task], make_reader: Callable[[], Reader]) -> None:
        self._tasks = tasks
        self._make_reader = make_reader
        self._reader: Reader | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, place: int) -> Loaded | GanInvError:
        try:
            if self._reader is None:
                self._reader = self._make_reader()
            return self._reader(self._tasks[place])
        except GanInvError as error:  # as a value: torch would rewrite the sentence into a traceback
            return error


class PhotoStream:
    """Iterates over one `Loaded` per task, in the tasks' order. Start it before any model is built: it forks.

    Args:
        tasks: what to read.
        make_reader: builds the reader; called once in each process (in the driving thread where `workers` is 0).
        workers: decoding processes.

    Attributes:
        notes: sentences about decoders that died.
    """

    def __init__(self, tasks: Sequence[Task], make_reader: Callable[[], Reader], workers: int) -> None:
        self.notes: list[str] = []
        self._tasks = tasks
        self._make_reader = make_reader
        self._workers = min(workers, len(tasks))
        self._ready: queue.Queue[Loaded | BaseException | None] = queue.Queue(maxsize=2)
        self._started = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="photo-stream", daemon=True)
        self._thread.start()
        self._started.wait()

    def __iter__(self) -> Iterator[Loaded]:
        while True:
            value = self._ready.get()
            if value is None:
                return
            if isinstance(value, BaseException):
                raise value
            yield value

    def close(self) -> None:
        """Stops reading and ends the processes; a decoder that hangs is left to end with this process."""
        self._stop.set()
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _drive(self) -> None:
        try:
            for loaded in self._read():
                self._ready.put(loaded)
                if self._stop.is_set():
                    return
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)
        finally:
            self._started.set()

    def _read(self) -> Iterator[Loaded]:
        """All photos; after a crash the suspects one by one, then the rest at full speed."""
        place = careful_until = 0
        while place < len(self._tasks):
            careful = place < careful_until
            stop = careful_until if careful else len(self._tasks)
            try:
                for value in self._pass(place, stop, careful):
                    if isinstance(value, GanInvError):
                        raise value
                    yield value
                    place += 1
            except RuntimeError as error:
                if self._stop.is_set():
                    return
                if not str(error).startswith(_DIED):
                    raise
                if careful:
                    yield self._crashed(place, error)
                    place += 1
                else:
                    careful_until = min(place + self._workers * PREFETCH, len(self._tasks))
                    self._tell(place, careful_until)

    def _pass(self, start: int, stop: int, careful: bool) -> Iterator[Loaded | GanInvError]:
        photos = _Photos(self._tasks[start:stop], self._make_reader)
        if self._workers == 0:
            self._started.set()
            return (photos[place] for place in range(len(photos)))
        forked = start == 0 and "fork" in multiprocessing.get_all_start_methods()  # later a model may be there
        loader = DataLoader(
            photos,
            batch_size=None,
            num_workers=1 if careful else self._workers,
            prefetch_factor=1 if careful else PREFETCH,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_interrupts,
            multiprocessing_context="fork" if forked else "spawn",
        )
        values = iter(loader)
        self._started.set()
        return values

    def _crashed(self, place: int, error: RuntimeError) -> Loaded:
        task = self._tasks[place]
        reason = str(error).splitlines()[0]
        message = f"'{task.photo.path}' ended the process that decoded it ({reason}); convert or remove the file"
        return Loaded(task.index, failure=Failure("decode", "crashed", message))

    def _tell(self, start: int, stop: int) -> None:
        names = ", ".join(repr(task.photo.key) for task in self._tasks[start:stop])
        self.notes.append(f"a decoding process died; the photos in flight are read again one by one: {names}")


def _as_it_is(value: T) -> T:
    return value


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the run's own process alone decides how to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
