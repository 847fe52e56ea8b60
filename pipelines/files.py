"""Files that are whole or not there: written beside their place, then renamed. And what JSON of unknown origin says."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import OutputError

_FULL, _DENIED = "free some space and run the same command again", "choose another folder with --output"
_DISK_TROUBLE = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota is used up; {_FULL}",
    errno.EROFS: f"the file system is read-only; {_DENIED}",
    errno.EACCES: f"permission is denied; {_DENIED}",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten the photo's name, or the edit's",
}


@contextlib.contextmanager
def replacing(path: Path, unique: bool = True) -> Iterator[Path]:
    """A ``.part`` beside `path` for the body to write, which takes its place when that ends well, and else goes.

    The folder is made. Raises OSError.

    Args:
        path: what nobody is ever to see half of.
        unique: several may write it at a time; False: what a killed writer left is written over.
    """
    # Cut to 40 characters: name plus token stays below the usual limit of 255 bytes even in four-byte scripts.
    name = f"{path.name[:40]}.{secrets.token_hex(6)}" if unique else path.name
    part = path.with_name(f"{name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, durable: bool = False) -> None:
    """Write a file whole or not at all; `durable` forces the bytes onto the disk first (slow).

    Raises OutputError with one sentence.
    """
    try:
        with replacing(path) as part, open(part, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        reason = _DISK_TROUBLE.get(error.errno or 0, f"{error.strerror or error}; choose another --output")
        raise OutputError(f"cannot write '{path}': {reason}") from error


def append_durably(path: Path, data: bytes) -> None:
    """Put bytes behind a file's own and onto the disk; the file is made. Raises OSError."""
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def ignores_case(folder: Path) -> bool:
    """Whether the disk of a folder (or of the nearest one above that exists) takes ``a`` and ``A`` for one name."""
    for place in (Path(os.path.abspath(folder)), *Path(os.path.abspath(folder)).parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if place.exists() and other != place:
            return other.exists() and os.path.samefile(place, other)
    return False


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON document that anybody may have written.

    Raises ValueError for all that is none, and for what no caller can use: brackets nested too deep, numbers that neither 64
    bits nor a float hold.
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=_real)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole(text: str) -> int:
    value = int(text)
    if value.bit_length() > 64:
        raise ValueError("a number beyond 64 bits")
    return value


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number beyond a float's range")
    return value
