"""What a process has from outside: streams that may be closed, signals that ask it to end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
_ENDS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asked the run to end: as Ctrl-C, with the signal's own exit code.

    Attributes:
        exit_code: 128 and the signal's number, as a shell reports it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


def open_streams() -> None:
    """Put the null device where a standard stream is closed, as services start their programs.

    Otherwise the next file that is opened takes its number, and messages end up in it. Characters that a stream's encoding
    cannot show are escaped instead of failing.
    """
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)  # also lets child processes inherit it
            if null != number:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (for good)
        if mode == "w" and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def mute_stdout() -> None:
    """Send what stdout still holds to the null device: nobody reads it, and Python would complain once more at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stdout.fileno() == 1:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Loading:
    """Whether libraries are being imported."""

    now = False


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While libraries are imported, a signal ends the process there and then, with a sentence and the signal's exit code.

    An exception out of the middle of an import is a traceback at best, and an abort where C++ is under way. Nothing has
    begun that would have to be finished.
    """
    before, _Loading.now = _Loading.now, True
    try:
        yield
    finally:
        _Loading.now = before


def catch_signals() -> None:
    """Let TERM and HUP end a run as Ctrl-C does; the second signal of these ends it at once.

    A signal that was ignored from the start (nohup, a shell's background jobs) stays so.
    """
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> Any:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        if os.getpid() != own:  # a child that was forked off has nothing to flush
            os.kill(os.getpid(), number)
            return
        if _Loading.now:
            with contextlib.suppress(OSError):
                os.write(2, b"interrupted before anything began\n")
            os._exit(128 + number)
        raise Stopped(number)

    known = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
    caught = [each for each in known if signal.getsignal(each) != signal.SIG_IGN]
    for each in caught:
        signal.signal(each, stop)
