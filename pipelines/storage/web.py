"""Files on web servers, with the few methods of fsspec's file systems that `pipelines.storage.remote` calls.

fsspec's own reader of ``http://`` needs another package; `requests` is here anyway, so lists of web addresses work in
every installation. A web server has no listing of its files: a folder's address is refused with a way out.
"""

from __future__ import annotations

import io
from typing import Any

import requests

from pipelines.errors import PhotoError, UsageError
from pipelines.images.decode import MAX_BYTES

TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer
_PIECE = 1 << 20


class WebStore:
    """Reads by address; raises FileNotFoundError (404, 410), PermissionError (401, 403), requests' own errors."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def info(self, url: str) -> dict[str, Any]:
        """``size`` (None where the server does not say), and ``ETag`` and ``LastModified`` where it does."""
        answer = self._session.head(url, timeout=TIMEOUT, allow_redirects=True)
        _check(answer, url)
        size = answer.headers.get("Content-Length")
        return {
            "size": int(size) if size and size.isdecimal() else None,
            "ETag": answer.headers.get("ETag"),
            "LastModified": answer.headers.get("Last-Modified"),
            "ranges": answer.headers.get("Accept-Ranges") == "bytes",
        }

    def cat_file(self, url: str, start: int | None = None, end: int | None = None) -> bytes:
        """All bytes, or those from `start` to before `end` (more, where the server ignores the range).

        Raises PhotoError ``too-large`` as soon as more than 1 GB arrives: a server may send without end.
        """
        headers = {} if start is None or end is None else {"Range": f"bytes={start}-{end - 1}"}
        if headers and start == end:
            return b""
        with self._session.get(url, headers=headers, timeout=TIMEOUT, stream=True) as answer:
            _check(answer, url)
            data = bytearray()
            for piece in answer.iter_content(_PIECE):
                data += piece
                if len(data) > MAX_BYTES:
                    raise PhotoError("too-large", f"'{url}' sends more bytes than a photo can have")
        # 206: a part, as asked; 200: the whole, from which the caller takes its part
        return bytes(data)

    def open(self, url: str, mode: str = "rb", block_size: int = 1 << 16) -> io.BufferedReader:
        """The file read piece by piece; not seekable where the server does not serve parts."""
        info = self.info(url)
        parts = info["ranges"] and info["size"] is not None
        return io.BufferedReader(_WebFile(self, url, info["size"] if parts else None), block_size)

    def ls(self, url: str, detail: bool = True) -> list[dict[str, Any]]:
        """Raises UsageError: a web server tells nobody what lies in its folders."""
        raise UsageError(f"'{url}' is a folder of a web server, which cannot be listed; give a .txt list of addresses")

    def makedirs(self, url: str, exist_ok: bool = True) -> None:
        """Nothing: see `pipe_file`."""

    def pipe_file(self, url: str, data: bytes) -> None:
        """Raises UsageError: results cannot be put on a web server."""
        raise UsageError(f"'{url}': nothing can be written to a web server; choose a folder or a bucket with -o")


class _WebFile(io.RawIOBase):
    """A file of known size, read by ranges; `size` None: it can only be asked whether it is seekable."""

    def __init__(self, store: WebStore, url: str, size: int | None) -> None:
        self._store, self._url, self._size, self._at = store, url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._size is not None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size or 0}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size or 0)
        if end <= self._at:
            return 0
        data = self._store.cat_file(self._url, self._at, end)[: end - self._at]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _check(answer: requests.Response, url: str) -> None:
    if answer.status_code in (404, 410):
        raise FileNotFoundError(url)
    if answer.status_code in (401, 403):
        raise PermissionError(f"the server answers {answer.status_code} {answer.reason}")
    answer.raise_for_status()
