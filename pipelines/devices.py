"""Keep freed memory instead of giving it back to the system after every layer.

glibc maps every large buffer afresh and unmaps it when it is freed, so a network on a CPU touches new, zeroed pages at
every layer: measured here, that is two thirds of the time of a training step (docs/decisions/0009). And every thread but
the first gets an arena of its own, made of 64 MB pieces, in which large buffers do not fit. Other systems and allocators
are left as they are.
"""

from __future__ import annotations

import ctypes
import sys

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -4, -1, -2, -8  # names of mallopt(3)
_KEEP = 2**31 - 1
_GROW = 64 << 20


def keep_freed_memory() -> bool:
    """Tell this process's allocator to re-use what it has; True where it could be told. Safe to call again.

    Threads that have allocated before keep their arenas: call it before those begin that compute.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl and others have no such call
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEEP), (_TOP_PAD, _GROW), (_ARENA_MAX, 1))
    taken = [mallopt(name, value) for name, value in settings]  # each is asked for, whatever became of the one before
    return all(taken)
