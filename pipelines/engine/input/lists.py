"""Inputs that name their photos: lists of paths and addresses, and tar archives one after the other."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipelines.engine.input.archive import members
from pipelines.engine.input.duplicates import apart
from pipelines.engine.input.remote import is_url
from pipelines.engine.input.tar_index import unsafe_name
from pipelines.engine.types import Photo, split_key


class ListedPhotos:
    """Paths or URLs, one a line, in the list's order. A key does not depend on other lines, so lists can grow.

    Args:
        lines: as often as they are iterated.
        base: folder or URL that paths are relative to.
        faces_all: as of `apart`.
    """

    def __init__(self, lines: Iterable[str], base: str, faces_all: bool) -> None:
        self._lines = lines
        self._base = base
        self._faces_all = faces_all

    def __call__(self, strict: bool, notes: list[str]) -> Iterator[Photo]:
        """See `engine.input.streaming.Find`."""
        return apart(self._photos(strict, notes), self._faces_all, strict)

    def _photos(self, strict: bool, notes: list[str]) -> Iterator[Photo]:
        base = self._base
        for line in self._lines:
            text = line.rstrip("\r\n")
            if not text.strip():
                continue
            path = text if is_url(text) else _joined(base, text)
            relative = _relative(path, base)
            reason = unsafe_name(relative)
            if reason:
                notes.append(f"{text!r} {reason} and was left out")
            elif split_key(relative)[1].lower() == ".tar":
                yield from members(path, split_key(relative)[0] + "/", strict, notes)
            else:
                yield Photo(split_key(posixpath.normpath(relative))[0], path)


class ArchivePhotos:
    """Members of archives by their paths; below the archive's own name where there are several archives.

    Args:
        paths: of the archives, in order.
        faces_all: as of `apart`.
    """

    def __init__(self, paths: Sequence[str], faces_all: bool) -> None:
        self._paths = paths
        self._faces_all = faces_all

    def __call__(self, strict: bool, notes: list[str]) -> Iterator[Photo]:
        """See `engine.input.streaming.Find`."""
        return apart(self._photos(strict, notes), self._faces_all, strict)

    def _photos(self, strict: bool, notes: list[str]) -> Iterator[Photo]:
        for path in self._paths:
            prefix = split_key(posixpath.basename(path))[0] + "/" if len(self._paths) > 1 else ""
            yield from members(path, prefix, strict, notes)


def _joined(base: str, text: str) -> str:
    return f"{base}/{text}" if is_url(base) else os.path.abspath(os.path.join(base, text))


def _relative(path: str, base: str) -> str:
    """What names a listed file: its path below the list's folder, else its whole path (or host and path)."""
    remote, head = is_url(path), base.rstrip("/") + "/"
    if path.startswith(head):
        relative = path[len(head) :]
    elif remote:
        relative = path.split("://", 1)[1]
    else:
        relative = Path(path).relative_to(Path(path).anchor).as_posix()
    return relative.split("?", 1)[0] if remote else relative
