"""The lines of a list, from a file, or from a stream that can be read only once."""

from __future__ import annotations

import io
import os
import select
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pipelines.errors import OutputError, UsageError

_PIECE = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Deadline:
    """How long to wait for an input before the run starts: without end for its first photo, then so many seconds.

    Attributes:
        late: something that waited for the input gave up, so there may be more.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self.late = False

    def begin(self) -> None:
        """The first photo is there."""
        self._end = time.monotonic() + self._seconds

    def stop(self) -> None:
        """The run goes on from here and waits as long as it takes."""
        self._end = None

    def left(self) -> float | None:
        """Seconds, at least 0; None: no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end


class FileLines:
    """The lines of a list file, which is opened anew by every iteration; raises UsageError where it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[str]:
        try:
            with open(self._path, "rb") as lines:
                yield from _texts(lines, f"the list '{self._path}'")
        except OSError as error:
            raise UsageError(f"the list '{self._path}' cannot be read ({error.strerror}); check its rights") from None


def _texts(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8, bytes that are none kept; a byte-order mark goes. Raises UsageError for UTF-16."""
    for number, line in enumerate(lines):
        if not number:
            if line.startswith(_UTF16) or b"\0" in line[:2]:
                raise UsageError(f"{name} is UTF-16 (as Windows' editors write it); save it as UTF-8 and run again")
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield line.decode("utf-8", errors="surrogateescape")


class StreamLines:
    """The lines of a pipe, which are kept in an unnamed file of this machine, so that any iteration finds them all.

    An iteration waits for the stream only when it has come to the end of what is kept. Safe to iterate in several
    threads; none of them needs more memory than a piece of the file.

    Args:
        stream: text, or bytes in UTF-8.
        deadline: where it runs out, an iteration that waits for the stream ends.
        name: what to call it in a sentence.
    """

    def __init__(self, stream: IO[str] | IO[bytes], deadline: Deadline, name: str = "standard input") -> None:
        self._stream = stream
        self._deadline = deadline
        self._name = name
        self._kept = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the lines)
        self._size = self._whole = 0  # bytes kept; up to the end of the last whole line
        self._ended = False
        self._guard = threading.Lock()
        self._next: Iterator[str | bytes] = iter(())
        try:  # past Python's own buffer, whose lock a thread that waits here would hold when the process ends
            self._file: int | None = stream.fileno()
        except (OSError, AttributeError):
            self._file, self._next = None, iter(stream)

    def __iter__(self) -> Iterator[str]:
        return _texts(self._lines(), self._name)

    def _lines(self) -> Iterator[bytes]:
        place = 0
        while place < self._whole or self._pull(place):
            piece = os.pread(self._kept.fileno(), min(_PIECE, self._whole - place), place)
            end = piece.rfind(b"\n") + 1
            while not end and place + len(piece) < self._whole:
                more = os.pread(self._kept.fileno(), min(_PIECE, self._whole - place - len(piece)), place + len(piece))
                piece, end = piece + more, len(piece) + more.rfind(b"\n") + 1 if b"\n" in more else 0
            piece = piece[: end or len(piece)]  # the stream's last line may lack its end
            place += len(piece)
            yield from io.BytesIO(piece)

    def _pull(self, place: int) -> bool:
        """Waits until more than `place` bytes of whole lines are kept; False: there will be none, or time is up."""
        with self._guard:
            while self._whole <= place and not self._ended:
                piece = self._read()
                if piece is None:
                    return False
                self._keep(piece)
            return self._whole > place

    def _read(self) -> bytes | None:
        """The stream's next bytes, b"" at its end; None: time is up."""
        if self._file is None:
            line = next(self._next, b"")
            return line if isinstance(line, bytes) else line.encode("utf-8", errors="surrogateescape")
        if os.name == "posix" and not select.select([self._file], [], [], self._deadline.left())[0]:
            self._deadline.late = True
            return None
        return os.read(self._file, _PIECE)

    def _keep(self, piece: bytes) -> None:
        try:
            self._kept.write(piece)
            self._kept.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            raise OutputError(f"cannot keep the list in '{folder}': {error.strerror}; free space there") from None
        end = piece.rfind(b"\n") + 1
        self._whole = self._size + end if end else self._whole
        self._size += len(piece)
        if not piece:
            self._ended, self._whole = True, self._size
