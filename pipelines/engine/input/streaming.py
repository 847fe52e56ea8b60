"""The photos of an input, found as they are asked for: nothing waits for the end of a large, slow or endless listing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.engine.input.groups import is_last, numbered
from pipelines.engine.input.keys import LeftOut
from pipelines.records.photos import Photo
from pipelines.storage.lines import Deadline

Find = Callable[[LeftOut], Iterable[Photo]]
"""All photos of an input in its own order, from the beginning; `LeftOut` is told what else lies there."""


class StreamedPhotos(Iterable[Photo], Sized):
    """An input's photos; every iteration goes through it from its beginning, unless all were listed at the start.

    Args:
        find: the input.
        first: the photos that were listed before the run started.
        whole: these are all.
        countable: going through the input once more, only to count it, costs little.
        which: places of the input's photos that these are (crops of one photo share one: `engine.input.groups`).

    Attributes:
        notes: a sentence for each kind of thing that was left out; there once an iteration has come to the input's end.
        unseen: of `only`: the names sought that no photo has; there likewise.
    """

    def __init__(
        self,
        find: Find,
        first: tuple[Photo, ...] = (),
        whole: bool = False,
        countable: bool = True,
        which: range = range(sys.maxsize),
    ) -> None:
        self.notes: list[str] = []
        self.unseen: list[str] = []
        self.first, self.whole, self.countable = first, whole, countable
        self._find = find
        self._which = which
        self._count: int | None = len(first) if whole else None

    @classmethod
    def begun(cls, find: Find, most: int, deadline: Deadline, countable: bool = True) -> StreamedPhotos:
        """The first `most` photos are listed, fewer where they come slowly."""
        left_out = LeftOut()
        first: list[Photo] = []
        whole = True
        for photo in find(left_out):
            if not first:
                deadline.begin()
            first.append(photo)
            if len(first) > most or deadline.over():
                whole = False
                break
        whole = whole and not deadline.late
        deadline.stop()
        photos = cls(find, tuple(first) if whole else tuple(first[:most]), whole, countable)
        photos.notes += left_out.sentences() if whole else ()
        return photos

    def __iter__(self) -> Iterator[Photo]:
        if self.whole:
            yield from self.first
            return
        left_out = LeftOut()
        for place, photo in numbered(self._find(left_out)):
            if place in self._which:
                yield photo
            # Before the next is looked for: nobody should wait for a photo that is not theirs.
            if place >= self._which.stop - 1 and is_last(photo):
                return
        self.notes[:] = left_out.sentences()

    def only(self, names: Callable[[Photo], Iterable[str]], sought: Iterable[str], others: bool) -> StreamedPhotos:
        """The photos of an input (not of a part) that have a name which is sought, and with `others` all others too."""
        lacking = set(sought)
        unseen: list[str] = []

        def kept(photos: Iterable[Photo]) -> Iterator[Photo]:
            for photo in photos:
                found = set(names(photo))
                lacking.difference_update(found)
                if found or others:
                    yield photo

        def find(left_out: LeftOut) -> Iterator[Photo]:
            yield from kept(self._find(left_out))
            unseen[:] = sorted(lacking)

        photos = StreamedPhotos(find, tuple(kept(self.first)), self.whole, self.countable)
        unseen += sorted(lacking) if self.whole else ()
        photos.notes, photos.unseen = self.notes, unseen
        return photos

    def __len__(self) -> int:
        """Counted by going through the input, the first time."""
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    def part(self, limit: int | None = None, shard: tuple[int, int] | None = None) -> StreamedPhotos:
        """The first `limit` photos, of those every N-th from the I-th on for shard (I, N), I from 1; found likewise.

        Shards differ by one photo at most, and none needs to know how many there are.
        """
        places = slice(limit), slice(shard[0] - 1, None, shard[1]) if shard else slice(None)
        here = range(sys.maxsize)[places[0]][places[1]]
        first = tuple(photo for place, photo in numbered(self.first) if place in here) if self.whole else self.first
        part = StreamedPhotos(self._find, first, self.whole, self.countable, self._which[places[0]][places[1]])
        part.notes, part.unseen = self.notes, self.unseen
        return part


def _nothing(left_out: LeftOut) -> tuple[Photo, ...]:
    return ()


@dataclass(frozen=True)
class Listing:
    """The photos, in the input's own order, and what a person should hear about the rest.

    Attributes:
        photos: folders by key, archives by key or (large ones) as they lie, lists as they are written.
        notes: one sentence per kind of thing that was left out; complete once all photos were asked for.
        latents: the folder with codes of the same keys (input was a folder of `invert` or `edit`), or None.
    """

    photos: StreamedPhotos = field(default_factory=lambda: StreamedPhotos(_nothing, whole=True))
    notes: Sequence[str] = ()
    latents: Path | None = None
