"""Moves a run's results on while it goes on: one thread reads what the run notes, another moves it, a bounded number waits."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pipelines.records.manifest import Record

LOOK_SECONDS = 0.2  # how often new records are looked for
MOST_WAITING = 64  # items noted but not moved on, before the run is held up; it goes on at half of that
_AT_ONCE = 16
NAME = ".ganinv.wait"


class Gate:
    """Holds a run up while its results cannot be moved on as fast as they come, so that the disk is not filled with them.

    A file in the run's folder, so that it is seen by all of a run's processes, on whichever machine.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = os.path.join(folder, NAME)

    def close(self) -> None:
        """Whoever makes results should wait. Nothing happens where the file cannot be written: the disk is full then."""
        with suppress(OSError), open(self._path, "ab"):
            pass

    def open(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)

    def closed(self) -> bool:
        return os.path.exists(self._path)


class Mover(Protocol):
    """Moves results on: `take` while the run goes on, `finish` when it has come to its end, `close` in any case."""

    def take(self, records: Iterable[Record]) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class Moving:
    """Hands new records, whichever process wrote them, to the mover until it is stopped.

    Reading is a thread of its own: a store that answers late must not hide how much is waiting for it.

    Args:
        mover: its `take` is called from one thread.
        records: each iteration gives what has been noted since the last.
        gate: closed while too many items wait.
    """

    def __init__(self, mover: Mover, records: Iterable[Record], gate: Gate) -> None:
        self._mover = mover
        self._records = records
        self._gate = gate
        self._over = threading.Event()
        self._news = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._in_hand = 0
        self._trouble: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name="move-results", daemon=True)
            for work in (self._read, self._move)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits for what is being moved; the rest stays where it is."""
        self._end()
        for thread in self._threads:
            thread.join()
        self._gate.open()

    def check(self) -> None:
        """Raises what stopped the moving: a full disk, a store that cannot be reached."""
        if self._trouble is not None:
            raise self._trouble

    def _end(self) -> None:
        with self._news:
            self._over.set()
            self._news.notify_all()
        self._gate.open()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._trouble = self._trouble or error
            self._end()  # a run that waits must go on to hear of it

    def _read(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            found = list(self._records)
            with self._news:
                self._waiting.extend(found)
                self._news.notify_all()
                self._regulate()

    def _move(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: bool(self._waiting) or self._over.is_set())
                if self._over.is_set():
                    return
                batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
                self._in_hand = len(batch)
            self._mover.take(batch)
            with self._news:
                self._in_hand = 0
                self._regulate()

    def _regulate(self) -> None:
        """Called with the condition held."""
        waiting = len(self._waiting) + self._in_hand
        if self._over.is_set():
            return
        if waiting > MOST_WAITING:
            self._gate.close()
        elif waiting <= MOST_WAITING // 2:
            self._gate.open()
