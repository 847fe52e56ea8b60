"""Shards on their way to the workers: found in a thread of their own, one ahead, so that nobody waits for the input
who has something else to do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from contextlib import suppress

from pipelines.engine.spread.shard import Shard


class ShardQueue:
    """Hands each shard to one pass over the workers; what a pass leaves is there for the next.

    Args:
        shards: found as they are asked for.

    Attributes:
        over: all were handed out.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.over = False
        self._shards = shards
        self._found: queue.Queue[Shard | None] = queue.Queue(maxsize=1)
        self._ended = False
        self._trouble: BaseException | None = None
        threading.Thread(target=self._find, name="find-shards", daemon=True).start()

    def take(self, seconds: float) -> Shard | None:
        """The next; None where none was found in that time, or there is none."""
        if self.over:
            return None
        try:
            shard = self._found.get(timeout=seconds)
        except queue.Empty:
            return None
        self.over = shard is None
        return shard

    def check(self) -> None:
        """Raises what was wrong with the input."""
        if self._trouble is not None:
            raise self._trouble

    def end(self) -> None:
        """Nothing more is looked for."""
        self._ended = True
        with suppress(queue.Empty):  # so that the thread has room for what it holds, and sees that it has ended
            self._found.get_nowait()

    def _find(self) -> None:
        try:
            for shard in self._shards:
                self._found.put(shard)
                if self._ended:
                    return
        except BaseException as error:  # told by `check`, when what was found before is done
            self._trouble = error
        self._found.put(None)
