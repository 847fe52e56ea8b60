"""The photos of a large, slow or endless input, found as they are asked for: nothing waits for the listing's end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from pipelines.engine.input.groups import is_last, numbered
from pipelines.engine.types import Photo

Find = Callable[[bool, list[str]], Iterable[Photo]]
"""(strict, notes) -> all photos of an input in its own order, from the beginning.

strict: raise UsageError for what cannot be used, and leave photos that share a key to the caller; else each is one
failing photo. `notes` gets a sentence for each thing that was left out.
"""


class Patience:
    """How long to wait for an input before the run starts: without end for its first photo, then so many seconds.

    Attributes:
        late: something that waited for the input gave up, so there may be more.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self.late = False

    def begin(self) -> None:
        """The first photo is there."""
        self._end = time.monotonic() + self._seconds

    def stop(self) -> None:
        """The run goes on from here and waits as long as it takes."""
        self._end = None

    def left(self) -> float | None:
        """Seconds, at least 0; None: no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end


def look_ahead(photos: Iterable[Photo], most: int, patience: Patience) -> tuple[tuple[Photo, ...], bool]:
    """The first `most` photos, fewer where they come slowly; and whether these are all."""
    first: list[Photo] = []
    whole = True
    for photo in photos:
        if not first:
            patience.begin()
        first.append(photo)
        if len(first) > most or patience.over():
            whole = False
            break
    whole = whole and not patience.late
    patience.stop()
    return tuple(first) if whole else tuple(first[:most]), whole


class LazyPhotos(Sequence[Photo]):
    """Photos that are found as they are asked for: every iteration goes through the input from its beginning.

    Photos that share a key, or that lie in an archive which cannot be read, are failing ones.

    Args:
        find: the input.
        first: the photos that were listed, and checked, before the run started.
        countable: going through the input once more, only to count it, costs little.
        which: places of the input's photos that these are.

    Attributes:
        notes: a sentence for each thing that was left out; there once an iteration has come to the input's end.
    """

    def __init__(
        self,
        find: Find,
        first: tuple[Photo, ...] = (),
        countable: bool = True,
        which: range = range(sys.maxsize),
    ) -> None:
        self.notes: list[str] = []
        self.first = first
        self.countable = countable
        self._find = find
        self._which = which
        self._count: int | None = None

    def __iter__(self) -> Iterator[Photo]:
        notes: list[str] = []
        for place, photo in numbered(self._find(False, notes)):
            if place in self._which:
                yield photo
            # Before the next is looked for: nobody should wait for a photo that is not theirs.
            if place >= self._which.stop - 1 and is_last(photo):
                return
        self.notes[:] = notes

    def __len__(self) -> int:
        """Counted by going through the input, the first time."""
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    @overload
    def __getitem__(self, index: int) -> Photo: ...

    @overload
    def __getitem__(self, index: slice) -> LazyPhotos: ...

    def __getitem__(self, index: int | slice) -> Photo | LazyPhotos:
        """A slice is found likewise; it must not count from the end."""
        if isinstance(index, int):
            return tuple(self)[index]
        part = LazyPhotos(self._find, self.first, self.countable, self._which[index])
        part.notes = self.notes
        return part
