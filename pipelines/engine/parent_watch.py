"""A process that works for another ends when that one is gone: nothing outlives a run, however the run ends.

Pipes do not tell: a forked process holds copies of both ends of them, its own and its siblings'. So one that is blocked in
sending an answer to a killed run would never hear of it.
"""

from __future__ import annotations

import os
import threading
import time

_LOOK_SECONDS = 0.25
ORPHANED = 70  # exit status; nobody is left to read it


class ParentWatch(threading.Thread):
    """Ends this process when `parent` is not its parent any more, whatever it does at that moment."""

    def __init__(self, parent: int) -> None:
        super().__init__(name="parent", daemon=True)
        self._parent = parent

    def run(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(ORPHANED)  # the next run may be waiting, and a batch can take minutes
