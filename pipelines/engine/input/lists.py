"""Lists of photos: paths or URLs, one a line, from a file or from a stream that can be read only once."""

from __future__ import annotations

import io
import os
import re
import select
import tempfile
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl, unquote, urlsplit

from pipelines.engine.input.archive import members
from pipelines.engine.input.keys import LeftOut
from pipelines.engine.input.streaming import ListingDeadline
from pipelines.errors import OutputError, UsageError
from pipelines.records.photos import Photo
from pipelines.storage.names import split_key, tidy
from pipelines.storage.remote import is_url, needs_network

_PIECE = 1 << 16
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SIGNATURE = r"x-(amz|goog|oss|cos)-.*|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|token|sig"
_AZURE = r"s[a-z]{1,2}|sk[a-z]+"  # beside a `sig`
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
_LONGEST_QUERY = 60  # characters of it that a key may hold


def listed(lines: Iterable[str], base: str, left_out: LeftOut, offline: bool = False) -> Iterator[Photo]:
    """The photos of a list, in its order; keys do not depend on other lines, so lists can grow.

    Args:
        lines: paths or URLs.
        base: folder or URL that paths are relative to.
        left_out: is told of members of listed archives that cannot be used.
        offline: archives behind URLs are not looked into.
    """
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        path = text if is_url(text) else _joined(base, text)
        relative = _relative(path, base)
        key, suffix = split_key(tidy(relative)) if relative else ("", "")
        if suffix.lower() == ".tar" and not (offline and needs_network(path)):
            yield from members(path, key + "/", left_out)
        else:
            yield Photo(key + query_mark(path), path)


def _joined(base: str, text: str) -> str:
    return f"{base}/{text}" if is_url(base) else _as_on_disk(os.path.abspath(os.path.join(base, text)))


def _as_on_disk(path: str) -> str:
    """`path` as the disk spells it: a list made on another system may have "ë" in one character where the file has two."""
    if path.isascii() or os.path.lexists(path):
        return path
    spellings = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((spelling for spelling in spellings if os.path.lexists(spelling)), path)


def _relative(path: str, base: str) -> str:
    """What names a listed file: its path below the list's folder, else its whole path (or host and path)."""
    head = base.rstrip("/") + "/"
    if is_url(path):
        below = path.startswith(head)
        whole = path[len(head) :] if below else path.split("://", 1)[1]
        return unquote(re.split(r"[?#]", whole, maxsplit=1)[0])
    return path[len(head) :] if path.startswith(head) else Path(path).relative_to(Path(path).anchor).as_posix()


def query_mark(url: str) -> str:
    """What a URL's query adds to its key: ``?id=1`` -> ``_id=1``; signatures and dates of expiry add nothing."""
    if not is_url(url) or "?" not in url:
        return ""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    signs = f"{_SIGNATURE}|{_AZURE}" if any(name == "sig" for name, _ in query) else _SIGNATURE
    told = [(name, value) for name, value in query if not re.fullmatch(signs, name, re.IGNORECASE)]
    if not told:
        return ""
    text = tidy(_UNSAFE.sub("_", "&".join(f"{name}={value}" if value else name for name, value in told)))
    short = len(text) <= _LONGEST_QUERY
    return "_" + (text if short else blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest())


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

    def __init__(self, stream: IO[str] | IO[bytes], deadline: ListingDeadline, name: str = "standard input") -> None:
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
