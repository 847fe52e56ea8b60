"""What a run has to read, found while it works: the first photo starts before the last of a large input is listed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from pipelines.engine.events import Progress
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.types import Task
from pipelines.errors import GanInvError
from pipelines.records.photos import Photo


class Pending(Iterator[Task]):
    """The tasks of a run, one at a time. Taken by one thread (the reading one); another tells what it has come across.

    Args:
        photos: in order.
        ledger: what is known of them.
        overwrite, retry_failed: as in the spec.
        counted: the same photos, to be counted by the way; None where that costs too much, or need not be: the total
            then grows.

    Attributes:
        seen: photos so far; `done`: their items that were finished before.
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
        self._overwrite, self._retry_failed = overwrite, retry_failed
        self._next = 0
        self.seen = self.done = 0
        self._items = 0  # of the photos seen, as far as they count
        self._told = self._told_done = 0
        self._count: int | None = None
        self._counter = threading.Thread(target=self._count_all, args=(counted,), name="count", daemon=True)
        self._countable = counted is not None

    def __next__(self) -> Task:
        # Not before: a run that has nothing to do need not know how much, and decoders are forked after the first task.
        if self._next == 1 and self._countable and self._counter.ident is None:
            self._counter.start()
        for photo in self._photos:
            self.seen += 1
            task, items = self._task(photo)
            self._items += items if task is None else 1
            if task is not None:
                self._next += 1
                return task
            self.done += items
        raise StopIteration

    def _task(self, photo: Photo) -> tuple[Task | None, int]:
        """What is to be read of a photo, or None; and how many of its items are finished.

        A finished photo whose file was touched is read once more; where the bytes are the same, nothing else is done.
        """
        items, untouched = (0, False) if self._overwrite else self._ledger.finished(photo)
        if items and untouched:
            return None, items
        if self._retry_failed and not self._ledger.failed(photo):
            return None, 0
        return Task(self._next, photo, self._ledger.records[photo.key].digest if items else ""), items

    def rest(self) -> list[Task]:
        """All at once, without Python's search for reference cycles, which looks at every record again and again."""
        enabled = gc.isenabled()
        gc.disable()
        try:
            return list(self)
        finally:
            if enabled:
                gc.enable()

    def tell(self, progress: Progress) -> None:
        """Passes on what has come up since the last call. Until all photos are counted, the total is what was seen."""
        seen, items, done, count = self.seen, self._items, self.done, self._count
        total = items if count is None else items + max(0, count - seen)
        progress.add(total - self._told, done - self._told_done)
        self._told, self._told_done = total, done

    def _count_all(self, photos: Iterable[Photo]) -> None:
        with suppress(GanInvError):  # the reading thread comes across it, and tells
            self._count = sum(1 for _ in photos)
