"""Photos read ahead of the device by a few processes, in order, a bounded number at a time.

A thread of the run hands each process one photo at a time, so that it is known which photo a process died over, or
takes too long over: that photo fails, a new process goes on with the next, and nothing else is lost.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait

from pipelines.engine.device.priority import stand_back
from pipelines.engine.reading.decoder import Decoder, Reader
from pipelines.engine.types import Loaded, Task
from pipelines.types import Failure

PREFETCH = 2  # photos in flight per process
CLOSE_SECONDS = 10.0
_TURN_SECONDS = 0.2  # how soon `close` is noticed


class DecoderPool:
    """Iterates over one `Loaded` per task, in the tasks' order. Start it before any model is built: it may fork.

    Args:
        tasks: what to read; taken one by one as there is room, in another thread.
        make_reader: builds the reader; called once in each process (in the driving thread where `workers` is 0).
        workers: decoding processes; 0 reads in this process, without a time limit and without guard against crashes.
        timeout: seconds for one photo; None: no limit.
        fork: start by forking where the system can; False once a model lives in this process.
        spare: idle processes of an earlier stream with the same readers: used first, and given back at the end.

    Attributes:
        notes: sentences about decoders that died.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        make_reader: Callable[[], Reader],
        workers: int,
        timeout: float | None = None,
        fork: bool = True,
        spare: list[Decoder] | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._tasks = iter(tasks)
        self._make_reader = make_reader
        self._timeout = timeout
        self._again: deque[tuple[int, Task]] = deque()
        self._suspects: set[int] = set()
        if multiprocessing.current_process().daemon:  # may not have children (workers of some clusters)
            workers = 0
        self._workers = workers
        forks = fork and "fork" in multiprocessing.get_all_start_methods()
        self._spare = spare
        self._decoders = [
            spare.pop() if spare else Decoder(make_reader, "fork" if forks else "spawn") for _ in range(self._workers)
        ]
        self._ready: queue.Queue[Loaded | BaseException | None] = queue.Queue(maxsize=2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="photo-stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Loaded]:
        while True:
            value = self._ready.get()
            if value is None:
                return
            if isinstance(value, BaseException):
                raise value
            yield value

    def close(self) -> None:
        """Stops reading and ends the processes, those that hang too."""
        self._stop.set()
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _drive(self) -> None:
        try:
            for loaded in self._read() if self._workers else self._read_here():
                self._ready.put(loaded)
                if self._stop.is_set():
                    return
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(error)
        finally:
            for decoder in self._decoders:
                if self._spare is not None and decoder.task is None:
                    self._spare.append(decoder)
                else:
                    decoder.end()

    def _read_here(self) -> Iterator[Loaded]:
        stand_back()
        reader = None
        for task in self._tasks:
            reader = reader or self._make_reader()
            yield reader(task)

    def _read(self) -> Iterator[Loaded]:
        """All photos in order; those that come early wait in `done`, which `limit` bounds."""
        numbered = enumerate(self._tasks)
        done: dict[int, Loaded] = {}
        places: dict[int, int] = {}  # which place the task of a process has, by the process's pipe
        turn, limit, more = 0, self._workers * PREFETCH, True
        while more or self._again or places or done:
            while turn in done:
                yield done.pop(turn)
                turn += 1
            for decoder in [each for each in self._decoders if each.task is None]:
                head = self._again.popleft() if self._again else None
                if head is None and more and len(places) + len(done) < limit:
                    head = next(numbered, None)
                    more = head is not None
                if head is not None:
                    self._hand(decoder, *head, places)
            done.update(self._collect(places))
            if self._stop.is_set():
                return

    def _hand(self, decoder: Decoder, place: int, task: Task, places: dict[int, int]) -> None:
        if not decoder.take(task, self._timeout):  # it died while it was idle: not this task's doing
            decoder = self._replace(decoder)
            if not decoder.take(task, self._timeout):
                raise RuntimeError(f"a fresh decoding process died at once ({decoder.fate()})")
        places[id(decoder)] = place

    def _collect(self, places: dict[int, int]) -> Iterator[tuple[int, Loaded]]:
        """What has come in meanwhile, with its place; waits for the first, but not longer than a turn."""
        busy = [decoder for decoder in self._decoders if decoder.task is not None]
        if not busy:
            return
        pause = max(0.0, min(_TURN_SECONDS, *(decoder.left() for decoder in busy)))
        readable = set(map(id, wait([decoder.pipe for decoder in busy], pause)))
        for decoder in busy:
            task = decoder.task
            assert task is not None
            if id(decoder.pipe) in readable:
                place = places.pop(id(decoder))
                value = decoder.answer()
                if isinstance(value, BaseException):
                    raise value
                if value is not None:
                    yield place, value
                else:
                    yield from self._crashed(decoder, place, task)
            elif decoder.left() <= 0:
                self._replace(decoder)
                yield places.pop(id(decoder)), self._late(task)

    def _crashed(self, decoder: Decoder, place: int, task: Task) -> Iterator[tuple[int, Loaded]]:
        """The photo gets one more try in a fresh process: somebody may have killed the first one."""
        fate = decoder.fate()
        self._replace(decoder)
        if place not in self._suspects:
            self._suspects.add(place)
            self._again.append((place, task))
            self.notes.append(f"a decoding process died ({fate}); its photo '{task.photo.key}' is read once more")
            return
        message = f"'{task.photo.path}' ended the process that decoded it ({fate}); convert or remove the file"
        yield place, Loaded(task.index, failure=Failure("decode", "decode-crashed", message))

    def _late(self, task: Task) -> Loaded:
        message = (
            f"'{task.photo.path}' was not decoded within {self._timeout:g} s; convert or remove the file, "
            "or give more time with --timeout"
        )
        return Loaded(task.index, failure=Failure("decode", "decode-timeout", message))

    def _replace(self, decoder: Decoder) -> Decoder:
        """A new process in the place of one that is dead, or is to be."""
        decoder.end()
        fresh = Decoder(self._make_reader, "spawn")  # a model may live here by now
        self._decoders[self._decoders.index(decoder)] = fresh
        return fresh
