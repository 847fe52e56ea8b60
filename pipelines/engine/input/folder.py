"""A folder's photos in the order of their keys, with one folder's names in memory at a time, local or remote.

Each folder is sorted by itself, files by key and folders by ``NAME/``, and gone down as they come. That is the order of
all keys sorted together: every key below a folder begins with ``NAME/``, and no other key of its parent does.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Set
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from pipelines.engine.input.archive import members
from pipelines.engine.input.duplicates import apart, failing
from pipelines.engine.input.remote import list_folder
from pipelines.engine.input.tar_index import unsafe_name
from pipelines.engine.types import FACE, FURTHER, Origin, Photo, split_key
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.records.manifest import Record, Stat

_RUN_FILES = re.compile(r"manifest\.jsonl|run(\.\d+-of-\d+)?\.json|metrics\.json|report\.html")
_EXAMPLES = 3
Place = tuple[int, int]  # device and inode of a folder
# Key in the folder (ends in "/" where more lies below), name, kind, is it a link, what the listing said of the file.
Row = tuple[str, str, str, bool, Stat | None]


class Walk(ABC):
    """One walk through a folder.

    Args:
        root: what to put before a path in the folder; ends in ``/``.
        faces_all: every photo may give several items `KEY.n`.
        strict: raise for what cannot be used, and leave photos that share a key to the caller. Otherwise each is one
            failing photo, with its file's name as its key: a run that has begun goes on.
        notes: gets a sentence for each thing that was left out; complete when the walk has ended.
    """

    def __init__(self, root: str, faces_all: bool, strict: bool, notes: list[str] | None = None) -> None:
        self.notes: list[str] = [] if notes is None else notes
        self._root = root
        self._faces_all = faces_all
        self._strict = strict

    def __iter__(self) -> Iterator[Photo]:
        """Photos sorted by key. Raises UsageError for an archive that cannot be read (`strict`)."""
        photos = self._tree("", frozenset())
        yield from photos if self._strict else _apart(photos)

    @abstractmethod
    def _look(self, below: str, above: frozenset[Place]) -> tuple[list[Row], frozenset[Place]]:
        """What is in a folder, sorted, and the folders on the way to it. Raises OSError where it cannot be read."""

    @abstractmethod
    def _photo(self, below: str, row: Row) -> Photo | None:
        """The photo that a row means; None where it is to be passed over."""

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
            rows, here = self._look(below, above)
        except OSError as error:
            name = (self._root + below).rstrip("/")
            self.notes.append(f"the folder '{name}' cannot be read ({error.strerror}) and was left out")
            return
        keys = {row[0] for row in rows} if self._faces_all and not self._strict else frozenset()
        for sort, group in groupby(rows, itemgetter(0)):
            if sort.endswith("/"):
                yield self._inside(below, list(group), here)
                continue
            for row in group:
                if (photo := self._photo(below, row)) is not None:
                    yield _alone(photo, below, keys)

    def _inside(self, below: str, rows: list[Row], here: frozenset[Place]) -> Iterator[Any]:
        """All under one ``NAME/``: a folder, an archive or, seldom, several of them together, which are merged."""
        if len(rows) == 1:
            return self._folder(below + rows[0][0], here) if rows[0][2] == "folder" else self._members(below, rows[0])
        parts = (
            self._tree(below + row[0], here)
            if row[2] == "folder"
            else iter(sorted(self._members(below, row), key=_key_of))
            for row in rows
        )
        return merge(*parts, key=_key_of)

    def _members(self, below: str, row: Row) -> Iterator[Photo]:
        path, prefix = self._root + below + row[1], below + row[0]
        return apart(members(path, prefix, self._strict, self.notes), self._faces_all, self._strict)


class FolderWalk(Walk):
    """A folder of this machine; hidden and half-written files aside, links are followed but never in a circle.

    Args:
        root: absolute path.
        records: what a run that wrote the folder noted (its crops are trusted); empty for any other folder.
        faces_all, strict, notes: as of `Walk`.
    """

    def __init__(
        self,
        root: str,
        records: Mapping[str, Record],
        faces_all: bool,
        strict: bool,
        notes: list[str] | None = None,
    ) -> None:
        super().__init__(os.path.join(root, ""), faces_all, strict, notes)
        self._records = records
        self._unlisted = 0
        self._examples: list[str] = []

    def __iter__(self) -> Iterator[Photo]:
        yield from super().__iter__()
        if self._unlisted:
            shown = ", ".join(map(repr, self._examples))
            self.notes.append(f"{self._unlisted} files have no picture's suffix and were left out, for example {shown}")

    def _look(self, below: str, above: frozenset[Place]) -> tuple[list[Row], frozenset[Place]]:
        status = os.stat(self._root + below)
        here = above | {(status.st_dev, status.st_ino)}
        rows: list[Row] = []
        with os.scandir(self._root + below) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.endswith(".part") or name == "manifest.d":
                    continue
                place = _folder_place(entry)
                if place is None:
                    rows += self._file_row(below, name, entry.is_symlink())
                elif place not in here:
                    rows.append((name + "/", name, "folder", False, None))
        rows.sort()
        return rows, here

    def _file_row(self, below: str, name: str, linked: bool) -> tuple[Row, ...]:
        found = _row(name, linked)
        if not found and not (self._records and _RUN_FILES.fullmatch(below + name)):
            self._unlisted += 1
            self._examples = sorted((*self._examples, below + name))[:_EXAMPLES]
        return found

    def _photo(self, below: str, row: Row) -> Photo | None:
        """None: the run that wrote the folder has withdrawn it."""
        key, path = below + row[0], self._root + below + row[1]
        record = self._records.get(key) if self._records else None
        if record is not None and record.status == "skipped":
            return None
        if record is None or record.outputs.get(FACE) != below + row[1]:
            return Photo(key, path, linked=row[3])
        origin = Origin(record.source, record.digest, record.quad) if record.quad else None
        return Photo(key, path, origin=origin, trusted=True, linked=row[3])


class RemoteWalk(Walk):
    """A folder of a store, asked for one folder at a time; arguments as of `Walk`, `root` is the folder's URL.

    A folder that the store refuses to list raises UsageError, in a run that has begun too: what is not listed would
    be lost without a trace.
    """

    def __init__(self, root: str, faces_all: bool, strict: bool, notes: list[str] | None = None) -> None:
        super().__init__(root.rstrip("/") + "/", faces_all, strict, notes)

    def _look(self, below: str, above: frozenset[Place]) -> tuple[list[Row], frozenset[Place]]:
        rows: list[Row] = []
        for name, is_folder, stat in list_folder(self._root + below):
            reason = unsafe_name(name)
            if reason:
                self.notes.append(f"{self._root}{below}: {name!r} {reason} and was left out")
            elif is_folder:
                rows.append((name + "/", name, "folder", False, None))
            else:
                rows += _row(name, False, stat)
        rows.sort()
        return rows, above

    def _photo(self, below: str, row: Row) -> Photo | None:
        return Photo(below + row[0], self._root + below + row[1], stat=row[4])


def _row(name: str, linked: bool, stat: Stat | None = None) -> tuple[Row, ...]:
    """What a file's name means; none where that is nothing."""
    key, suffix = split_key(name)
    suffix = suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return ((key, name, "photo", linked, stat),)
    return ((key + "/", name, "members", linked, None),) if suffix == ".tar" else ()


def _key_of(photo: Photo) -> str:
    return photo.key


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
    return failing(photo, f"has the name that a further face of '{below}{match[1]}' gets; rename one of them")


def _apart(photos: Iterable[Photo]) -> Iterator[Photo]:
    """Sorted photos; each of several with one key becomes a failing one."""
    for _, group in groupby(photos, _key_of):
        same = list(group)
        if len(same) == 1:
            yield same[0]
            continue
        for photo in same:
            other = same[0] if photo is not same[0] else same[1]
            yield failing(photo, f"and '{other.path}' would both write '{photo.key}'; rename or remove one of them")
