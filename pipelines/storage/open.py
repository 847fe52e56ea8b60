"""The bytes of a photo wherever it lies, and what tells without reading it that it has changed."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.images.decode import read_photo
from pipelines.records.manifest import Stat
from pipelines.storage.remote import is_url, read_remote, remote_stat
from pipelines.storage.tar_index import SEPARATOR, read_member, split_member


def read_source(path: str, span: tuple[int, int] | None = None) -> bytes:
    """The bytes of a photo wherever it lies: a file, a URL, or ``ARCHIVE::MEMBER`` (at `span`, where that is known).

    Raises PhotoError, with the codes of `pipelines.images.decode.read_photo` and ``unreachable``.
    """
    if split_member(path):
        return read_member(path, span)
    return read_remote(path) if is_url(path) else read_photo(Path(path))


def file_stat(path: str) -> Stat | None:
    """(bytes, modification time in ns), or None where the file cannot be looked at; of a member: those of its archive."""
    parts = split_member(path) if SEPARATOR in path else None
    path = parts[0] if parts else path
    if is_url(path):
        return remote_stat(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in a list's line
        return None
    return status.st_size, status.st_mtime_ns
