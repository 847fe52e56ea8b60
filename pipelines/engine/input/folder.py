"""A folder's photos in the order of their keys, with one folder's names in memory at a time, local or remote.

Each folder is sorted by itself, files by key and folders by ``NAME/``, and gone down as they come. That is the order of
all keys sorted together: every key below a folder begins with ``NAME/``, and no other key of its parent does.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.engine.input.archive import members
from pipelines.engine.input.keys import SIDE_REASON, Claims, LeftOut, Naming, apart, is_side
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.records.manifest import PARTS, Record, Stat
from pipelines.records.outputs import FACE, PAPERS, RUN_FILES, SHEET, is_run
from pipelines.records.photos import Origin, Photo
from pipelines.storage.names import split_key, tidy, unsafe_name
from pipelines.storage.remote import list_folder

Place = tuple[int, int]  # device and inode of a folder


@dataclass(frozen=True)
class Row:
    """What lies in a folder: a picture, or (`kind` folder or archive) a place with more below its key.

    Attributes:
        name: the file's own.
        kind: photo, folder or archive.
        linked: the file may be a link.
        stat: what the listing said of the file.
    """

    name: str
    kind: str
    linked: bool = False
    stat: Stat | None = None

    def names(self, naming: Naming) -> tuple[str, ...]:
        """What its key in the folder may be, best first; ends in ``/`` where more lies below."""
        name = tidy(self.name)
        if self.kind == "photo":
            return naming.names(*split_key(name))
        return (f"{name}/",) if self.kind == "folder" else (f"{split_key(name)[0]}/", f"{name}/")


@dataclass(frozen=True)
class Below:
    """A folder on the walk: its path below the root and its keys' beginning, both "" or with a ``/`` at their end."""

    path: str = ""
    key: str = ""
    above: frozenset[Place] = frozenset()


class Walk(ABC):
    """One walk through a folder; photos come sorted by key, each with a key of its own.

    Args:
        root: what to put before a path in the folder; ends in ``/``.
        naming: how names become keys.
        left_out: is told of what is no photo of this input.
    """

    def __init__(self, root: str, naming: Naming, left_out: LeftOut) -> None:
        self._root = root
        self._naming = naming
        self._left_out = left_out

    def __iter__(self) -> Iterator[Photo]:
        """A stack, and not recursion: folders may be nested a thousand deep."""
        stack: list[Iterator[Any]] = [self._folder(Below())]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, Photo):
                yield found
            else:
                stack.append(found)

    @abstractmethod
    def _look(self, below: Below) -> tuple[list[Row], Below]:
        """What is in a folder, and the folder with itself `above`. Raises OSError where it cannot be read."""

    @abstractmethod
    def _photo(self, key: str, path: str, row: Row) -> Photo | None:
        """The photo that a row means (`path` below the root); None where it is to be passed over."""

    def _folder(self, below: Below) -> Iterator[Photo | Iterator[Any]]:
        """A folder's photos and, in their places, all that lies in its folders and archives."""
        try:
            rows, below = self._look(below)
        except OSError as error:
            self._left_out.add(f"folders cannot be read ({error.strerror})", self._root + below.path.rstrip("/"))
            return
        for key, row in self._keyed(below, rows):
            path = below.path + row.name
            if row.kind == "folder":
                yield self._folder(replace(below, path=path + "/", key=key))
            elif row.kind == "archive":
                yield apart(members(self._root + path, key, self._left_out), self._naming)
            elif (photo := self._photo(key, path, row)) is not None:
                yield photo

    def _keyed(self, below: Below, rows: list[Row]) -> list[tuple[str, Row]]:
        """Sorted by their keys, which differ; a folder cannot change its name, so it goes before archives."""
        rows.sort(key=lambda row: (row.kind != "folder", row.name))
        named = [(row, [below.key + name for name in row.names(self._naming)]) for row in rows]
        wanted = Counter(self._naming.fold(name) for _, names in named for name in names)
        claims, keyed = Claims(self._naming), []
        for row, names in named:
            contested = not names or wanted[self._naming.fold(names[0])] > 1
            key = claims.take(tuple(names), self._root + below.path + row.name, contested=contested)
            if key is not None:
                keyed.append((key, row))
        keyed.sort(key=lambda pair: pair[0])
        return keyed


class FolderWalk(Walk):
    """A folder of this machine; hidden and half-written files aside, links are followed but never in a circle.

    Args:
        root: absolute path.
        records: what a run that wrote the folder noted (its crops are trusted); empty for any other folder.
        naming, left_out: as of `Walk`.
        follow_links: also follow links to folders outside of `root`.
        output: the run's own folder, which is left out where it lies in this one.
    """

    def __init__(
        self,
        root: str,
        records: Mapping[str, Record],
        naming: Naming,
        left_out: LeftOut,
        follow_links: bool = False,
        output: str = "",
    ) -> None:
        super().__init__(os.path.join(root, ""), naming, left_out)
        self._records = records
        self._inside = "" if follow_links else os.path.join(os.path.realpath(root), "")
        self._output = os.path.realpath(output) if output else ""

    def _look(self, below: Below) -> tuple[list[Row], Below]:
        status = os.stat(self._root + below.path)
        here = replace(below, above=below.above | {(status.st_dev, status.st_ino)})
        with os.scandir(self._root + below.path) as entries:
            found = list(entries)
        if below.path and is_run({entry.name for entry in found}):
            self._left_out.add("folders hold results of an earlier run", below.path.rstrip("/"))
            return [], here
        evaluated = {entry.name for entry in found} >= PAPERS
        rows: list[Row] = []
        for entry in found:
            name = entry.name
            if is_side(name):
                self._left_out.add(SIDE_REASON, below.path + name)
            elif evaluated and name == SHEET and not self._is_face(below.path + name):
                self._left_out.add("files are contact sheets of evaluations", below.path + name)
            elif name.startswith(".") or name.endswith(".part") or name == PARTS:
                continue
            elif (place := _folder_place(entry)) is None:
                rows += self._file_row(below.path, name, entry.is_symlink())
            elif place not in here.above and not self._outside(entry, below.path):
                rows.append(Row(name, "folder"))
        return rows, here

    def _outside(self, entry: os.DirEntry[str], below: str) -> bool:
        """Whether a folder is left out: behind a link that leads out of the input, or the run's own output."""
        path = self._root + below + entry.name
        if self._inside and entry.is_symlink() and not os.path.realpath(path).startswith(self._inside):
            self._left_out.add("links lead out of the input (--follow-links follows them)", below + entry.name)
            return True
        if self._output and entry.name == os.path.basename(self._output) and os.path.realpath(path) == self._output:
            self._left_out.add("folders are this run's own output", below + entry.name)
            return True
        return False

    def _is_face(self, path: str) -> bool:
        """Whether the run that wrote the folder says so of this file."""
        record = self._records.get(split_key(tidy(path))[0]) if self._records else None
        return record is not None and tidy(record.outputs.get(FACE, "")) == tidy(path)

    def _file_row(self, below: str, name: str, linked: bool) -> tuple[Row, ...]:
        found = _row(name, linked)
        if not found and not (self._records and RUN_FILES.fullmatch(below + name)):
            self._left_out.add("files have no picture's suffix", below + name)
        return found

    def _photo(self, key: str, path: str, row: Row) -> Photo | None:
        """None: the run that wrote the folder has withdrawn it."""
        record = self._records.get(key) if self._records else None
        if record is not None and record.status == "skipped":
            return None
        if record is None or tidy(record.outputs.get(FACE, "")) != tidy(path):
            return Photo(key, self._root + path, linked=row.linked)
        origin = Origin(record.source, record.digest, record.quad) if record.quad else None
        return Photo(key, self._root + path, origin=origin, trusted=True, linked=row.linked)


class RemoteWalk(Walk):
    """A folder of a store, asked for one folder at a time; arguments as of `Walk`, `root` is the folder's URL.

    A folder that the store refuses to list raises UsageError, in a run that has begun too: what is not listed would
    be lost without a trace.
    """

    def _look(self, below: Below) -> tuple[list[Row], Below]:
        rows: list[Row] = []
        for name, is_folder, stat in list_folder(self._root + below.path):
            if reason := unsafe_name(name):  # before it is asked for
                self._left_out.add(f"names cannot be used (each {reason})", below.path + name)
            elif is_side(name):
                self._left_out.add(SIDE_REASON, below.path + name)
            elif is_folder:
                rows.append(Row(name, "folder"))
            else:
                rows += _row(name, False, stat)
        return rows, below

    def _photo(self, key: str, path: str, row: Row) -> Photo | None:
        return Photo(key, self._root + path, stat=row.stat)


def _row(name: str, linked: bool, stat: Stat | None = None) -> tuple[Row, ...]:
    """What a file's name means; none where that is nothing."""
    suffix = split_key(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return (Row(name, "photo", linked, stat),)
    return (Row(name, "archive", linked),) if suffix == ".tar" else ()


def _folder_place(entry: os.DirEntry[str]) -> Place | None:
    """(device, inode) of a folder, also behind a link; None for files, broken links and links in a circle."""
    try:
        if not entry.is_dir():  # known from the listing itself: no look at each of 100,000 files
            return None
        status = entry.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
