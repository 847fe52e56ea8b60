"""Small file systems for tests that fill a disk or make it read-only; none is left behind, however the tests end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "ganinv-test-"  # and the process that mounted it


@contextmanager
def mounted(place: Path, room: int) -> Iterator[bool]:
    """An empty file system of so many bytes at a new folder; gives whether one could be mounted."""
    unmount_leftovers()
    place.mkdir()
    made = os.system(f"mount -t tmpfs -o size={room} {NAME}{os.getpid()} '{place}' 2>/dev/null") == 0
    try:
        yield made
    finally:
        if made:
            os.system(f"umount -l '{place}'")  # lazily: a process that is just ending may still have a file open there


def unmount_leftovers() -> None:
    """Takes away what killed test runs have left: pytest could never clear their folders."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return  # no Linux: nothing was mounted
    for name, place in (line.split()[:2] for line in lines):
        if name.startswith(NAME) and not Path(f"/proc/{name.removeprefix(NAME)}").exists():
            os.system(f"umount -l '{place}' 2>/dev/null")
