"""Holds a run up while its results cannot be moved on as fast as they come, so that the disk is not filled with them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = ".ganinv.wait"


class Gate:
    """A file in the run's folder, so that it is seen by all of a run's processes, on whichever machine.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = os.path.join(folder, NAME)

    def close(self) -> None:
        """Whoever makes results should wait. Nothing happens where the file cannot be written: the disk is full then."""
        with suppress(OSError), open(self._path, "ab"):
            pass

    def open(self) -> None:
        with suppress(OSError):
            os.unlink(self._path)

    def closed(self) -> bool:
        return os.path.exists(self._path)
