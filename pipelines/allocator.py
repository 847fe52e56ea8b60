"""Keep freed memory instead of giving it back to the system after every layer.

glibc maps every large buffer afresh and unmaps it when it is freed, so a network on a CPU touches new, zeroed pages at
every layer: measured here, that is two thirds of the time of a training step (docs/decisions/0009). Other systems and
allocators are left as they are.
"""

from __future__ import annotations

import ctypes
import sys

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2  # names of mallopt(3)
_KEEP = 2**31 - 1
_GROW = 64 << 20


def keep_freed_memory() -> bool:
    """Tell this process's allocator to re-use what it has; True where it could be told. Safe to call again."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl and others have no such call
        return False
    told = [mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _KEEP), mallopt(_TOP_PAD, _GROW)]
    return all(told)
