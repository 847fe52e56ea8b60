"""Shards on their way to the workers: found in a thread of their own, one ahead, so that nobody waits for the input
who has something else to do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

from pipelines.engine.spread.shard import Shard

_LOOK_SECONDS = 0.2


class ShardQueue:
    """Hands each shard to one pass over the workers; what a pass leaves is there for the next.

    Args:
        shards: found as they are asked for.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = shards
        self._found: queue.Queue[Shard | None] = queue.Queue(maxsize=1)
        self._next: Shard | None = None
        self._guard = threading.Lock()
        self._over, self._ended = False, threading.Event()
        self._trouble: BaseException | None = None
        threading.Thread(target=self._find, name="find-shards", daemon=True).start()

    def shards(self, closed: threading.Event) -> Iterator[Shard]:
        """Those that are left, until `closed` is set. May be gone on with by another thread than began it."""
        while (shard := self._take(closed)) is not None:
            yield shard

    def check(self) -> None:
        """Raises what was wrong with the input."""
        if self._trouble is not None:
            raise self._trouble

    def end(self) -> None:
        """Nothing more is looked for."""
        self._ended.set()

    def _take(self, closed: threading.Event) -> Shard | None:
        with self._guard:
            while self._next is None and not self._over and not closed.is_set():
                try:
                    self._next = self._found.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                self._over = self._next is None
            if closed.is_set():  # the pass has counted what it sent: this one is the next pass's
                return None
            shard, self._next = self._next, None
            return shard

    def _find(self) -> None:
        try:
            for shard in self._shards:
                if not self._put(shard):
                    return
        except BaseException as error:  # told by `check`: whoever asks for a shard is a thread of joblib's or dask's
            self._trouble = error
        self._put(None)

    def _put(self, shard: Shard | None) -> bool:
        while not self._ended.is_set():
            try:
                self._found.put(shard, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False
