"""The headers of a tar archive, one after the other, in bounded memory and time whatever the archive claims.

Python's own reader calls itself for every long name, reads a name of any size, and goes where a header points, backwards
too. Here a block is parsed (`tarfile.TarInfo.frombuf`), and everything around it is a loop: POSIX.1-1988 (ustar), its
``pax`` extension, and GNU's long names and sparse files.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import IO

_BLOCK = 512
_MOST_NAME = 1 << 13  # bytes of a name; those of real archives have some hundred
_MOST_RECORD = 1 << 20  # bytes of a pax header, which may hold other things (ACLs) beside a name
_LONG = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_PAX = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}


class TarDamage(Exception):
    """Where the headers end too early: what is wrong, for a person."""


def headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Every member, with `offset_data` and `size`; those whose names are refused unread have the type of a device.

    Raises:
        TarDamage: no end mark, no header where one must be, or a size that leads backwards.
    """
    offset, given = 0, _Given()
    while True:
        file.seek(offset)
        entry = _header(file.read(_BLOCK))
        if entry is None:
            return
        about_next = entry.type in _LONG or entry.type in _PAX
        start, size = offset + _BLOCK, entry.size if about_next or given.size < 0 else given.size
        if size < 0:
            raise TarDamage("the archive is damaged: a member has less than no bytes")
        if entry.type == tarfile.GNUTYPE_SPARSE:
            start = _behind_sparse(file, offset, start)
        offset = start + (-(-size // _BLOCK) * _BLOCK if _has_data(entry) else 0)
        if about_next:
            given.take(entry.type, file, start, size)
        else:
            yield given.complete(entry, start, size)
            given = _Given()


class _Given:
    """What the headers before a member's own say of it."""

    def __init__(self) -> None:
        self.size = -1
        self._name: str | None = None
        self._refused = self._sparse = False

    def take(self, kind: bytes, file: IO[bytes], start: int, size: int) -> None:
        if kind == tarfile.GNUTYPE_LONGLINK or kind == tarfile.XGLTYPE:
            return
        if size > (_MOST_NAME if kind == tarfile.GNUTYPE_LONGNAME else _MOST_RECORD):
            self._refused = True
            return
        file.seek(start)
        data = file.read(size)
        if kind == tarfile.GNUTYPE_LONGNAME:
            self._name = _text(data.partition(b"\0")[0])
        else:
            self._records(data)

    def _records(self, data: bytes) -> None:
        """pax: lines of ``LENGTH KEY=VALUE``, in which LENGTH counts the whole line; a damaged rest is passed over."""
        while data:
            length, _, _ = data.partition(b" ")
            if not (length.isdigit() and len(length) < 8 and len(length) + 2 < int(length) <= len(data)):
                return
            line, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
            key, _, value = line.partition(b"=")
            if key == b"path":
                self._refused, self._name = len(value) > _MOST_NAME, _text(value)
            elif key == b"size" and value.isdigit() and len(value) < 20:
                self.size = int(value)
            self._sparse = self._sparse or key.startswith(b"GNU.sparse")

    def complete(self, entry: tarfile.TarInfo, start: int, size: int) -> tarfile.TarInfo:
        entry.offset_data, entry.size = start, size
        if self._name is not None:
            entry.name = self._name.rstrip("/")
        if self._refused or self._sparse:
            entry.type, entry.name = tarfile.CHRTYPE, entry.name[:100]
        return entry


def _header(block: bytes) -> tarfile.TarInfo | None:
    """A block read as a header; None where it is the end mark of a whole archive."""
    if not block:
        raise TarDamage("the archive ends without its end mark: something may be missing")
    if block == bytes(_BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        cut = len(block) < _BLOCK
        what = "the archive is cut off in a header" if cut else "the archive is damaged: what follows cannot be read"
        raise TarDamage(what) from None


def _has_data(entry: tarfile.TarInfo) -> bool:
    return entry.type not in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, *_DEVICES)


_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


def _behind_sparse(file: IO[bytes], offset: int, start: int) -> int:
    """Where the bytes of GNU's sparse file begin: its map may go on over further blocks."""
    file.seek(offset)
    more = file.read(_BLOCK)[482:483] == b"\1"
    end = file.seek(0, os.SEEK_END)
    while more and start < end:
        file.seek(start)
        more = file.read(_BLOCK)[504:505] == b"\1"
        start += _BLOCK
    return start


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
