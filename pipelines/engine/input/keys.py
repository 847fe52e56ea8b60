"""From a name, wherever it comes from, to the key of an item: the one gate that every key passes, and who gets which.

A key becomes a path in the output, so it must not lead out of it; it is compared in one normal form (NFC), and holds no
half characters. What cannot be a key is left out, counted and named (`LeftOut`).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from pipelines.errors import GanInvError
from pipelines.files import ignores_case
from pipelines.records.manifest import Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.photos import FURTHER, Photo
from pipelines.storage.names import split_key, unsafe_name
from pipelines.types import Failure

MOST_FOLDERS, MOST_CHARACTERS = 200, 2000  # of a key: what any file system takes below any output folder
_SHOWN = 3
_SIDE = frozenset({"@eadir", "__macosx", ".thumbnails", ".@__thumb"})  # what network drives, macOS and viewers add
SIDE_REASON = "files or folders belong to thumbnails or to another system's leftovers"


class LeftOut:
    """What lies in an input and is no photo of it: counted by its reason, with the first names as examples.

    Attributes:
        damaged: sentences about records of the runs that wrote the input, which grow as records are looked at.
    """

    def __init__(self) -> None:
        self.damaged: list[Sequence[str]] = []
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, reason: str, name: str) -> None:
        """`reason` as it stands in "3 files ... and were left out", its noun included."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._names[reason] = sorted((*self._names.get(reason, ()), name))[:_SHOWN]

    def sentences(self) -> list[str]:
        """One for each reason."""
        shown = {reason: ", ".join(map(repr, names)) for reason, names in self._names.items()}
        counted = [f"{n} {why} and were left out, for example {shown[why]}" for why, n in self._counts.items()]
        return [*chain.from_iterable(self.damaged), *counted]


def is_side(name: str) -> bool:
    """Whether a file or folder of this name holds thumbnails, or what another system left."""
    return name.lower() in _SIDE


def gate(photos: Iterable[Photo], left_out: LeftOut) -> Iterator[Photo]:
    """Photos whose keys may become paths; what is too long for one fails by itself, all else is left out by name."""
    for photo in photos:
        if reason := unsafe_name(photo.key):
            left_out.add(f"names cannot be used (each {reason})", photo.key)
        elif len(photo.key) > MOST_CHARACTERS or photo.key.count("/") > MOST_FOLDERS:
            yield failing(photo, "too-deep", f"'...{photo.key[-60:]}' lies in too many folders; move it further up")
        else:
            yield photo


def failing(photo: Photo, code: str, message: str) -> Photo:
    """The photo as one that fails when its turn comes."""
    return replace(photo, trouble=photo.trouble or Failure("list", code, message))


class Naming:
    """How names become keys in one run.

    Args:
        output: the run's folder, whose manifest is read when it is first asked for: a file keeps the key that an earlier
            run noted for it, whatever was added to the input since; None: nothing is known.
        faces_all: every photo may give several items `KEY.n`, so that no photo's own key may look like that.
        prefix: goes before these keys later (one of several inputs).
    """

    def __init__(self, output: Path | None = None, faces_all: bool = False, prefix: str = "") -> None:
        self._output, self._faces_all, self._prefix = output, faces_all, prefix
        self._fold: Callable[[str], str] = str.casefold if output and ignores_case(output) else str
        self._known: Mapping[str, Record] | None = None

    def names(self, key: str, suffix: str) -> tuple[str, ...]:
        """What a photo may be called, best first: without its suffix, with it."""
        names = (key, key + suffix) if suffix else (key,)
        return tuple(n for n in names if not (self._faces_all and FURTHER.fullmatch(n)))

    def fold(self, key: str) -> str:
        """Two keys with one fold would write one file."""
        return self._fold(key)

    def allowed(self, names: tuple[str, ...], path: str) -> tuple[str, ...]:
        """The names that may be this file's: first the one noted for it, none of another file that is still there."""
        records = {name: self._records().get(self._prefix + name) for name in names}
        own = [name for name, record in records.items() if record is not None and record.source == path]
        free = [name for name, record in records.items() if record is None or not _is_another(record.source, path)]
        return tuple(dict.fromkeys((*own, *free)))

    def know(self, names: tuple[str, ...]) -> bool:
        """Whether an earlier run gave one of these names to somebody."""
        return any(self._prefix + name in self._records() for name in names)

    def _records(self) -> Mapping[str, Record]:
        if self._known is None:
            try:
                self._known = ManifestIndex(self._output) if self._output and has_manifest(self._output) else {}
            except GanInvError:  # the run itself tells what is wrong with it
                self._known = {}
        return self._known


def _is_another(source: str, path: str) -> bool:
    """Whether `source` is a file of another name than `path`, and still there."""
    folder, name = posixpath.split(source)
    return name != posixpath.basename(path) and any(
        "://" in place or "::" in place or os.path.exists(os.path.join(place, name))
        for place in (folder, posixpath.dirname(path))  # the second: where a folder has moved
    )


class Claims:
    """Keys that are given away: to each photo one of its own, the first that is free of those it may have.

    Needs some 150 bytes for each key.
    """

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._met: dict[int, int] = {}  # key -> which photo has it

    def take(self, names: tuple[str, ...], path: str, span: object = None, contested: bool = True) -> str | None:
        """The photo's key; None where this very photo has one already.

        Args:
            names: what it may be called, best first.
            path, span: which photo it is.
            contested: False: no other photo may be called so, now; what earlier runs noted need not be looked up.
        """
        itself = _number(f"{path}\0{span}")
        mark = f"~{itself & 0xFFFFFF:06x}"
        last = names[-1] if names else posixpath.basename(path)
        free = self._naming.allowed(names, path) if contested or self._naming.know(names[1:]) else names
        for name in (*free, f"{last[:-1]}{mark}/" if last.endswith("/") else last + mark):
            key = _number(self._naming.fold(name))
            if self._met.get(key) == itself:
                return None
            if key not in self._met:
                self._met[key] = itself
                return name
        return None


def apart(photos: Iterable[Photo], naming: Naming) -> Iterator[Photo]:
    """Photos of an input that comes in no order, each with a key of its own; one that is named again only once."""
    claims = Claims(naming)
    for photo in photos:
        if photo.trouble is not None:
            yield photo
            continue
        suffix = split_key(posixpath.basename(photo.path).partition("?")[0])[1]
        key = claims.take(naming.names(photo.key, suffix), photo.path, photo.span)
        if key is not None:
            yield photo if key == photo.key else replace(photo, key=key)


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest(), "little")
