"""Shares on their way to the workers: found in a thread of their own, one ahead, so that nobody waits for the input
who has something else to do."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator

from pipelines.engine.spread.shard import Share

_LOOK_SECONDS = 0.2


class Feed:
    """Hands each share to one pass over the workers; what a pass leaves is there for the next.

    Args:
        shares: found as they are asked for.
    """

    def __init__(self, shares: Iterable[Share]) -> None:
        self._shares = shares
        self._found: queue.Queue[Share | None] = queue.Queue(maxsize=1)
        self._given_back: deque[Share] = deque()
        self._guard = threading.Lock()
        self._over, self._ended = False, threading.Event()
        self._trouble: BaseException | None = None
        threading.Thread(target=self._find, name="find-shares", daemon=True).start()

    def shares(self, closed: threading.Event) -> Iterator[Share]:
        """Those that are left, until `closed` is set. May be gone on with by another thread than began it."""
        while (share := self._take(closed)) is not None:
            yield share

    def check(self) -> None:
        """Raises what was wrong with the input."""
        if self._trouble is not None:
            raise self._trouble

    def end(self) -> None:
        """Nothing more is looked for."""
        self._ended.set()

    def _take(self, closed: threading.Event) -> Share | None:
        with self._guard:
            while not closed.is_set():
                if self._given_back:
                    return self._given_back.popleft()
                if self._over:
                    return None
                try:
                    share = self._found.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if share is None:
                    self._over = True
                elif closed.is_set():  # meanwhile: the pass counts what it has sent already
                    self._given_back.append(share)
                else:
                    return share
            return None

    def _find(self) -> None:
        try:
            for share in self._shares:
                if not self._put(share):
                    return
        except BaseException as error:  # told by `check`: whoever asks for a share is a thread of joblib's or dask's
            self._trouble = error
        self._put(None)

    def _put(self, share: Share | None) -> bool:
        while not self._ended.is_set():
            try:
                self._found.put(share, timeout=_LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False
