"""Files of JSON Lines as runs write them: a line is there whole or not at all, whatever was killed or full meanwhile."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from pipelines.errors import OutputError

MOST_BYTES = 1 << 20  # of one line; a record has some hundred
_decode = json.JSONDecoder().raw_decode


def whole_lines(data: bytes) -> list[bytes]:
    """The lines that have an end; what follows the last newline is being written, or was torn by a kill."""
    lines = data.split(b"\n")
    lines.pop()
    return lines


def parse(line: bytes) -> Any:
    """The value of a line. Raises ValueError for everything else, also for what is too long or nested too deep."""
    if len(line) > MOST_BYTES:
        raise ValueError("a line longer than this tool writes")
    text = line.decode("utf-8")
    try:
        value, end = _decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if text[end:].strip():
        raise ValueError("more than one value")
    return value


def values(data: bytes) -> Iterator[Any]:
    """The values of the whole lines; a damaged one is passed over."""
    for line in whole_lines(data):
        with suppress(ValueError):
            yield parse(line)


class LineWriter:
    """Appends lines to a file; safe to call from several threads.

    Args:
        path: made with its folder; a torn last line is cut off.
        keep: keep the file when it is closed (an empty one goes in any case).

    Raises:
        OutputError: the file cannot be opened or written.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self.path = path
        self._keep = keep
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (open as long as the writer)
            self._end = path.read_bytes().rfind(b"\n") + 1
            self._file.truncate(self._end)
        except OSError as error:
            self._fail(error)

    def write(self, line: str) -> None:
        """One whole line (newline included, ASCII) or nothing: one that does not fit the disk is taken back."""
        data = line.encode("ascii")
        with self._guard:
            try:
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._file.truncate(self._end)
                self._fail(error)
            self._end += len(data)

    def close(self) -> None:
        """Flushes to the disk and closes. May be called twice."""
        with self._guard:
            if self._file.closed:
                return
            kept = self._keep and bool(self._end)
            if kept:
                os.fsync(self._file.fileno())
            self._file.close()
            if not kept:
                self.path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> NoReturn:
        raise cannot_write(self.path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The sentence for a file of a run that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; free space or choose another folder, then run again to go on")


class Tail:
    """What is appended to a folder's files of some name, as it comes.

    Args:
        folder: need not exist yet.
        pattern: of the files' names.
        skip: pass over what the files hold already.
    """

    def __init__(self, folder: Path, pattern: str, skip: bool = False) -> None:
        self._folder = folder
        self._pattern = pattern
        self._read: dict[str, float] = {path.name: path.stat().st_size for path in folder.glob(pattern)} if skip else {}

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """(file's name, line) of what has come since the last call; an unfinished line waits for the next."""
        for path in sorted(self._folder.glob(self._pattern)):
            yield from ((path.name, line) for line in self._new(path))

    def retire(self, pattern: str) -> None:
        """These files do not grow any more: they are not looked into again."""
        self._read |= dict.fromkeys((path.name for path in self._folder.glob(pattern)), math.inf)

    def _new(self, path: Path) -> list[bytes]:
        start = self._read.get(path.name, 0)
        if start == math.inf:
            return []
        try:
            with open(path, "rb") as file:
                if file.seek(0, os.SEEK_END) < start:  # a new file of that name
                    start = 0
                file.seek(int(start))
                data = file.read()
        except FileNotFoundError:  # merged meanwhile: its run is at its end
            return []
        lines = whole_lines(data)
        self._read[path.name] = start + sum(map(len, lines)) + len(lines)
        return lines
