"""Tar archives of photos (webdataset style): what lies in them, and the bytes of one member at a time.

A member is named ``ARCHIVE::MEMBER``. Listing reads the headers alone and jumps over the contents; reading one photo
then takes one seek and one read, so an archive of any size needs no more memory than its list of names. Nothing is ever
unpacked. Archives come from strangers: names that would leave the output folder, links and devices are left out.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

from pipelines.errors import PhotoError, UsageError
from pipelines.images.decode import MAX_BYTES
from pipelines.storage.names import unsafe_name
from pipelines.storage.remote import is_url, open_remote, read_remote
from pipelines.storage.tar_headers import TarDamage, headers

SEPARATOR = "::"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MEMBER = re.compile(r"(.*?\.tar)::(.+)", re.DOTALL | re.IGNORECASE)
_MOST = 1_000_000  # archives that one pattern may mean


@dataclass(frozen=True)
class Member:
    """A regular file in an archive: its name (POSIX, normalised), and where its bytes lie."""

    name: str
    offset: int
    size: int


def expand(pattern: str) -> tuple[str, ...]:
    """``a-{000..012}.tar`` -> thirteen names, with the zeros of the first number; a name without braces is itself.

    Raises:
        UsageError: the range runs backwards, or means more than a million names.
    """
    found = _BRACES.search(pattern)
    if found is None:
        return (pattern,)
    first, last, width = int(found[1]), int(found[2]), len(found[1])
    if not 0 <= last - first < _MOST:
        raise UsageError(f"'{pattern}': the range {found[0]} must run upwards, over at most {_MOST:,} names")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return tuple(name for number in range(first, last + 1) for name in expand(f"{head}{number:0{width}d}{tail}"))


def split_member(path: str) -> tuple[str, str] | None:
    """``ARCHIVE::MEMBER`` -> (archive, member), or None for any other path."""
    found = _MEMBER.fullmatch(path)
    return (found[1], found[2]) if found else None


def _nobody(reason: str, name: str) -> None:
    """Nobody asked what was left out."""


class Scan:
    """One pass over an archive's headers: members as they come, so the first is known before the last was reached.

    Args:
        path: of the archive, local or a URL.
        left_out: called with (reason, name) of members that are no regular files, or whose names cannot be keys.

    Attributes:
        torn: after the pass: what is wrong with the archive's end, "" where it is whole.
        count: members so far.
    """

    def __init__(self, path: str, left_out: Callable[[str, str], object] = _nobody) -> None:
        self._left_out = left_out
        self.torn = ""
        self.count = 0
        self._path = path

    def __iter__(self) -> Iterator[Member]:
        """Regular files with names that can be keys, in the archive's order.

        Raises:
            UsageError: it cannot be opened, or it is compressed (its members cannot be reached one by one).
        """
        path = self._path
        try:
            file: Any = open_remote(path) if is_url(path) else open(path, "rb")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise unreadable(path, error) from None
        with file:
            start = file.read(6)
            if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
                raise UsageError(f"'{path}' is compressed; uncompress it: members are read one by one from a plain tar")
            yield from self._members(file)

    def _members(self, file: IO[bytes]) -> Iterator[Member]:
        total = file.seek(0, os.SEEK_END)
        try:
            for entry in headers(file):
                reason = "" if entry.isdir() else _unusable(entry)
                if reason:
                    self._left_out(reason, entry.name)
                elif entry.isreg() and entry.offset_data + entry.size <= total:
                    self.count += 1
                    yield Member(posixpath.normpath(entry.name), entry.offset_data, entry.size)
        except TarDamage as error:
            self.torn = str(error)
        except (OSError, ValueError, OverflowError) as error:
            self.torn = f"the archive is damaged or cut off ({str(error) or type(error).__name__})"


def unreadable(path: str, error: OSError) -> UsageError:
    """The sentence about an archive that cannot be opened."""
    return UsageError(f"the archive '{path}' cannot be read ({error.strerror}); check its path and rights")


def read_index(path: str) -> tuple[Member, ...]:
    """The members of a local or remote archive, the last of each name. Raises UsageError as a `Scan` does."""
    return last_of_each(Scan(path))


def last_of_each(members: Iterable[Member]) -> tuple[Member, ...]:
    """Of several members with one name the last, as `tar` itself unpacks them."""
    named: dict[str, Member] = {}
    for member in members:
        named.pop(member.name, None)
        named[member.name] = member
    return tuple(named.values())


def read_member(path: str, span: tuple[int, int] | None = None) -> bytes:
    """The bytes of ``ARCHIVE::MEMBER``; `span` (offset, size) saves looking it up.

    Raises PhotoError: ``vanished``, ``truncated``, ``too-large``, ``unreadable``, and those of `read_remote`.
    """
    parts = split_member(path)
    if parts is None:
        raise PhotoError("vanished", f"'{path}' names no member of a tar archive")
    archive, name = parts
    offset, size = span or _look_up(archive, name)
    if size > MAX_BYTES:
        raise PhotoError("too-large", f"'{path}' has {size:,} bytes, more than a photo can have")
    if is_url(archive):
        data = read_remote(archive, (offset, size))
    else:
        try:
            with open(archive, "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except FileNotFoundError:
            raise PhotoError("vanished", f"'{archive}' is not there any more; run again once it is back") from None
        except OSError as error:
            raise PhotoError("unreadable", f"'{archive}' cannot be read ({error.strerror}); check its rights") from None
    if len(data) < size:
        raise PhotoError("truncated", f"'{archive}' ends inside '{name}'; copy the archive again from its source")
    return data


def _look_up(archive: str, name: str) -> tuple[int, int]:
    try:
        mark = 0 if is_url(archive) else os.stat(archive).st_mtime_ns
        found = _places(archive, mark).get(name)
    except (OSError, UsageError) as error:
        raise PhotoError("vanished", f"'{archive}' cannot be opened any more ({error}); bring it back") from None
    if found is None:
        raise PhotoError("vanished", f"'{name}' is not in '{archive}' any more; run again once it is back")
    return found


@lru_cache(maxsize=4)
def _places(archive: str, mark: int) -> dict[str, tuple[int, int]]:
    """Name -> place; `mark` makes a changed archive a new question."""
    return {member.name: (member.offset, member.size) for member in read_index(archive)}


def _unusable(entry: tarfile.TarInfo) -> str:
    if not entry.isreg() or entry.issparse():
        return "members are links, devices, sparse files or have names longer than any path"
    reason = unsafe_name(entry.name)
    return f"names cannot be used (each {reason})" if reason else ""
