"""What a run over a large or slow input has to read, found while it works: the first photo starts before the last is listed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from pipelines.engine.events import Progress
from pipelines.engine.resume.ledger import Ledger, task_of
from pipelines.engine.types import Photo, Task
from pipelines.errors import GanInvError


class Todo(Iterator[Task]):
    """The tasks of a run, one at a time. Taken by one thread (the reading one); another tells what it has come across.

    Args:
        photos: in order.
        ledger: what is known of them.
        overwrite, retry_failed: as in the spec.
        counted: the same photos, to be counted by the way; None where that costs too much: the total then grows.
    """

    def __init__(
        self,
        photos: Iterable[Photo],
        ledger: Ledger,
        overwrite: bool,
        retry_failed: bool,
        counted: Iterable[Photo] | None,
    ) -> None:
        self._photos = iter(photos)
        self._ledger = ledger
        self._options = overwrite, retry_failed
        self._next = 0
        self._seen = self._items = self._done = 0  # photos; their items, as far as they count; those done before
        self._told = self._told_done = 0
        self._count: int | None = None
        self._counter = threading.Thread(target=self._count_all, args=(counted,), name="count", daemon=True)
        self._countable = counted is not None

    def __next__(self) -> Task:
        # Not before: a run that has nothing to do need not know how much, and decoders are forked after the first task.
        if self._next == 1 and self._countable and self._counter.ident is None:
            self._counter.start()
        for photo in self._photos:
            self._seen += 1
            task, items = task_of(photo, self._ledger, *self._options, self._next)
            self._items += items if task is None else 1
            if task is not None:
                self._next += 1
                return task
            self._done += items
        raise StopIteration

    def tell(self, progress: Progress) -> None:
        """Passes on what has come up since the last call. Until all photos are counted, the total is what was seen."""
        seen, items, done, count = self._seen, self._items, self._done, self._count
        total = items if count is None else items + max(0, count - seen)
        progress.add(total - self._told, done - self._told_done)
        self._told, self._told_done = total, done

    def _count_all(self, photos: Iterable[Photo]) -> None:
        with suppress(GanInvError):  # the reading thread comes across it, and tells
            self._count = sum(1 for _ in photos)
