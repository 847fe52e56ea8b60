"""A folder's photos in the order of their keys, with one folder's names in memory at a time.

Each folder is sorted by itself, files by key and folders by ``NAME/``, and gone down as they come. That is the order of
all keys sorted together: every key below a folder begins with ``NAME/``, and no other key of its parent does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from pipelines.decode import IMAGE_SUFFIXES
from pipelines.engine.members import members
from pipelines.engine.photos import FACE, Origin, Photo, split_key
from pipelines.errors import UsageError
from pipelines.manifest import Record
from pipelines.types import Failure

FURTHER = re.compile(r"(.+)\.[1-9]\d*", re.DOTALL)  # the key of a further face
_RUN_FILES = re.compile(r"manifest\.jsonl|run(\.\d+-of-\d+)?\.json|metrics\.json|report\.html")
_EXAMPLES = 3
Place = tuple[int, int]  # device and inode of a folder
_Row = tuple[str, str, str, bool]  # key in the folder (ends in "/" where more lies below), name, kind, is it a link


class FolderWalk:
    """One walk through a folder; hidden and half-written files aside, links are followed but never in a circle.

    Args:
        root: absolute path.
        records: what a run that wrote the folder noted (its crops are trusted); empty for any other folder.
        faces_all: every photo may give several items `KEY.n`.
        strict: raise for what cannot be used, and leave photos that share a key to the caller. Otherwise each is one
            failing photo, with its file's name as its key: a run that has begun goes on.

    Attributes:
        notes: a sentence for each thing that was left out, complete when the walk has ended.
    """

    def __init__(self, root: str, records: Mapping[str, Record], faces_all: bool, strict: bool) -> None:
        self.notes: list[str] = []
        self._root = os.path.join(root, "")
        self._records = records
        self._faces_all = faces_all
        self._strict = strict
        self._unlisted = 0
        self._examples: list[str] = []

    def __iter__(self) -> Iterator[Photo]:
        """Photos sorted by key. Raises UsageError for an archive that cannot be read (`strict`)."""
        photos = self._tree("", frozenset())
        yield from photos if self._strict else _apart(photos)
        if self._unlisted:
            shown = ", ".join(map(repr, self._examples))
            self.notes.append(f"{self._unlisted} files have no picture's suffix and were left out, for example {shown}")

    def _tree(self, below: str, above: frozenset[Place]) -> Iterator[Photo]:
        """All photos below a folder. A stack, and not recursion: folders may be nested a thousand deep."""
        stack: list[Iterator[Any]] = [self._folder(below, above)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, Photo):
                yield found
            else:
                stack.append(found)

    def _folder(self, below: str, above: frozenset[Place]) -> Iterator[Photo | Iterator[Any]]:
        """A folder's photos and, in their places, all that lies in its folders and archives."""
        try:
            status = os.stat(self._root + below)
            here = above | {(status.st_dev, status.st_ino)}
            rows = self._rows(below, here)
        except OSError as error:
            name = (self._root + below).rstrip("/")
            self.notes.append(f"the folder '{name}' cannot be read ({error.strerror}) and was left out")
            return
        keys = {row[0] for row in rows} if self._faces_all and not self._strict else frozenset()
        archives: dict[str, list[Photo]] = {}
        for sort, group in groupby(rows, itemgetter(0)):
            if sort.endswith("/"):
                yield self._inside(below, list(group), here, archives)
                continue
            for row in group:
                if row[2] == "archive":
                    yield from self._opened(below, row, archives)
                elif (photo := self._photo(below, row)) is not None:
                    yield _alone(photo, below, keys)

    def _rows(self, below: str, here: frozenset[Place]) -> list[_Row]:
        """What is in a folder, sorted. An archive is there twice, since what is missing of it has a key of its own."""
        rows: list[_Row] = []
        with os.scandir(self._root + below) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.endswith(".part") or name == "manifest.d":
                    continue
                place = _folder_place(entry)
                if place is None:
                    rows += self._file_rows(below, name, entry.is_symlink())
                elif place not in here:
                    rows.append((name + "/", name, "folder", False))
        rows.sort()
        return rows

    def _file_rows(self, below: str, name: str, linked: bool) -> tuple[_Row, ...]:
        key, suffix = split_key(name)
        suffix = suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            return ((key, name, "photo", linked),)
        if suffix == ".tar":
            return (key + ".tar", name, "archive", linked), (key + "/", name, "members", linked)
        if not (self._records and _RUN_FILES.fullmatch(below + name)):
            self._unlisted += 1
            self._examples = sorted((*self._examples, below + name))[:_EXAMPLES]
        return ()

    def _photo(self, below: str, row: _Row) -> Photo | None:
        """None: the run that wrote the folder has withdrawn it."""
        key, path = below + row[0], self._root + below + row[1]
        record = self._records.get(key) if self._records else None
        if record is not None and record.status == "skipped":
            return None
        if record is None or record.outputs.get(FACE) != below + row[1]:
            return Photo(key, path, linked=row[3])
        origin = Origin(record.source, record.digest, record.quad) if record.quad else None
        return Photo(key, path, origin=origin, trusted=True, linked=row[3])

    def _opened(self, below: str, row: _Row, archives: dict[str, list[Photo]]) -> Iterator[Photo]:
        """Reads an archive's names into `archives`; yields what is missing of it."""
        name, path = row[1], self._root + below + row[1]
        try:
            photos, refused = members(path, below + row[0][:-4] + "/")
        except UsageError as error:
            if self._strict:
                raise
            archives[name] = []
            yield Photo(below + name, path, trouble=Failure("decode", "unreadable", str(error)))
            return
        self.notes.extend(refused)
        keys = {photo.key for photo in photos} if self._faces_all and not self._strict else frozenset()
        archives[name] = [_alone(photo, "", keys) for photo in photos if photo.trouble is None]
        yield from (photo for photo in photos if photo.trouble is not None)

    def _inside(
        self, below: str, rows: list[_Row], here: frozenset[Place], archives: dict[str, list[Photo]]
    ) -> Iterator[Any]:
        """All under one ``NAME/``: a folder, an archive or, seldom, several of them together."""
        if len(rows) == 1 and rows[0][2] == "folder":
            return self._folder(below + rows[0][0], here)
        parts = (self._tree(below + row[0], here) if row[2] == "folder" else iter(archives.pop(row[1])) for row in rows)
        return merge(*parts, key=lambda photo: photo.key)


def _folder_place(entry: os.DirEntry[str]) -> Place | None:
    """(device, inode) of a folder, also behind a link; None for files, broken links and links in a circle."""
    try:
        if not entry.is_dir():  # known from the listing itself: no look at each of 100,000 files
            return None
        status = entry.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _alone(photo: Photo, below: str, keys: Set[str]) -> Photo:
    """The photo; a failing one where its key is that of a further face of a photo among `keys` (relative to `below`)."""
    match = FURTHER.fullmatch(photo.key, len(below)) if keys else None
    if match is None or match[1] not in keys:
        return photo
    return _failing(photo, f"has the name that a further face of '{below}{match[1]}' gets; rename one of them")


def _apart(photos: Iterable[Photo]) -> Iterator[Photo]:
    """Sorted photos; each of several with one key becomes a failing one."""
    for _, group in groupby(photos, lambda photo: photo.key):
        same = list(group)
        if len(same) == 1:
            yield same[0]
            continue
        for photo in same:
            other = same[0] if photo is not same[0] else same[1]
            yield _failing(photo, f"and '{other.path}' would both write '{photo.key}'; rename or remove one of them")


def _failing(photo: Photo, why: str) -> Photo:
    trouble = Failure("list", "shared-key", f"'{photo.path}' {why}")
    return replace(photo, key=photo.key + split_key(photo.path)[1], trouble=trouble)
