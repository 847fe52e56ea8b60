"""Who gets a core when all are wanted: the models first, files when they pause (docs/decisions/0019)."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

STEP = 10  # of niceness; less hardly counts beside a network's own threads


def stand_back() -> None:
    """Lowers the calling thread's priority, and that of threads which it starts; only Linux has priorities by thread."""
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a sandbox may forbid it; it is a matter of speed alone
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + STEP))
