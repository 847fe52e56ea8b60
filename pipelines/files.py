"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from pipelines.errors import OutputError

_FULL, _DENIED = "free some space and run the same command again", "choose another folder with --output"
_DISK_TROUBLE = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota is used up; {_FULL}",
    errno.EROFS: f"the file system is read-only; {_DENIED}",
    errno.EACCES: f"permission is denied; {_DENIED}",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten the photo's name, or the edit's",
}


def write_atomic(path: Path, data: bytes, durable: bool = False) -> None:
    """Write a file so that nobody ever sees half of it: a unique ``.part`` beside it, then a rename.

    Parent folders are made; `durable` forces the bytes onto the disk first (slow). Raises OutputError with one
    sentence; the part file does not stay behind.
    """
    # Cut to 40 characters: name plus token stays below the usual limit of 255 bytes even in four-byte scripts.
    part = path.with_name(f"{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        reason = _DISK_TROUBLE.get(error.errno or 0, f"{error.strerror or error}; choose another --output")
        raise OutputError(f"cannot write '{path}': {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
