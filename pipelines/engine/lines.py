"""The lines of a list, as often as they are asked for: of a file, or of a stream that can be read only once."""

from __future__ import annotations

import io
import os
import select
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipelines.engine.input.streaming import Patience
from pipelines.errors import OutputError, UsageError

_PIECE = 1 << 16


class FileLines:
    """The lines of a list file, which is opened anew by every iteration; raises UsageError where it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[str]:
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as lines:
                yield from lines
        except OSError as error:
            raise UsageError(f"the list '{self._path}' cannot be read ({error.strerror}); check its rights") from None


class StreamLines:
    """The lines of a pipe, which are kept in an unnamed file of this machine, so that any iteration finds them all.

    An iteration waits for the stream only when it has come to the end of what is kept. Safe to iterate in several
    threads; none of them needs more memory than a piece of the file.

    Args:
        stream: text, or bytes in UTF-8.
        patience: where it runs out, an iteration that waits for the stream ends.
    """

    def __init__(self, stream: IO[str] | IO[bytes], patience: Patience) -> None:
        self._stream = stream
        self._patience = patience
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
        place = 0
        while place < self._whole or self._pull(place):
            piece = os.pread(self._kept.fileno(), min(_PIECE, self._whole - place), place)
            end = piece.rfind(b"\n") + 1
            while not end and place + len(piece) < self._whole:
                more = os.pread(self._kept.fileno(), min(_PIECE, self._whole - place - len(piece)), place + len(piece))
                piece, end = piece + more, len(piece) + more.rfind(b"\n") + 1 if b"\n" in more else 0
            piece = piece[: end or len(piece)]  # the stream's last line may lack its end
            place += len(piece)
            for line in io.BytesIO(piece):
                yield line.decode("utf-8", errors="surrogateescape")

    def _pull(self, place: int) -> bool:
        """Waits until more than `place` bytes of whole lines are kept; False: there will be none, or patience is out."""
        with self._guard:
            while self._whole <= place and not self._ended:
                piece = self._read()
                if piece is None:
                    return False
                self._keep(piece)
            return self._whole > place

    def _read(self) -> bytes | None:
        """The stream's next bytes, b"" at its end; None: patience is out."""
        if self._file is None:
            line = next(self._next, b"")
            return line if isinstance(line, bytes) else line.encode("utf-8", errors="surrogateescape")
        if os.name == "posix" and not select.select([self._file], [], [], self._patience.left())[0]:
            self._patience.late = True
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
