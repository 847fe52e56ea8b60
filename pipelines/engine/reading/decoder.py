"""One decoding process: takes a task at a time, and may die or hang without harm to anything but that task."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from pipelines.engine.device.priority import stand_back
from pipelines.engine.parent_watch import ParentWatch
from pipelines.engine.types import Loaded, Task
from pipelines.errors import GanInvError

Reader = Callable[[Task], Loaded]
# On top of the first photo's limit: the process loads its models, and a spawned one imports everything first.
START_SECONDS = {"fork": 20.0, "spawn": 120.0}


class ReaderBug(Exception):
    """The reader raised what no reader should; the text is its traceback."""


class Decoder:
    """A process that reads photos one at a time.

    Args:
        make_reader: builds the reader, in the process; picklable unless `method` is ``fork``.
        method: ``fork`` is quick but only safe before a model or a thread pool exists; else ``spawn``.

    Attributes:
        task: what it works on, or None.
        pipe: readable when the answer has come, or the process has died.
    """

    def __init__(self, make_reader: Callable[[], Reader], method: Literal["fork", "spawn"]) -> None:
        context: Any = multiprocessing.get_context(method)
        self.task: Task | None = None
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self._start = START_SECONDS[method]
        self._deadline = float("inf")
        self._process = context.Process(
            target=_serve, args=(theirs, make_reader, os.getpid()), name="decoder", daemon=True
        )
        self._process.start()
        theirs.close()  # so that the death of the process shows as the end of the pipe

    def take(self, task: Task, limit: float | None) -> bool:
        """Starts on a task; `limit` in seconds. False where the process is dead already."""
        try:
            self.pipe.send(task)
        except OSError:
            return False
        self.task = task
        if limit is not None:
            self._deadline = time.monotonic() + limit + self._start
        return True

    def answer(self) -> Loaded | BaseException | None:
        """What has come of the task; None: the process died over it. Call when `pipe` is readable."""
        try:
            value: Loaded | BaseException = self.pipe.recv()
        except (EOFError, OSError):
            return None
        self.task, self._start, self._deadline = None, 0.0, float("inf")
        return value

    def left(self) -> float:
        """Seconds until the task has taken too long; infinite without a limit."""
        return self._deadline - time.monotonic()

    def fate(self) -> str:
        """How the process ended, in words."""
        self._process.join(5.0)
        code = self._process.exitcode
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def end(self) -> None:
        """Ends the process at once, whatever it does: it owns nothing that could be left half done."""
        self._process.kill()
        self._process.join(5.0)
        self.pipe.close()


def _serve(pipe: Connection, make_reader: Callable[[], Reader], parent: int) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # they reach all processes; the run's own decides how to stop
        with suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    ParentWatch(parent).start()
    stand_back()
    torch.set_num_threads(1)  # the other decoders have the other cores; and a fork has lost torch's own threads
    reader = None
    with suppress(EOFError, OSError):  # the run has ended
        while True:
            task: Task = pipe.recv()
            try:
                reader = reader or make_reader()
                answer: Loaded | BaseException = reader(task)
            except GanInvError as error:  # missing weights: as a value, its sentence must reach the user
                answer = error
            except (
                Exception
            ):  # a bug of ours, or of a reader of a plugin: the run tells it, with this process's traceback
                answer = ReaderBug(traceback.format_exc())
            pipe.send(answer)
