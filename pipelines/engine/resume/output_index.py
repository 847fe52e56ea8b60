"""Which outputs of earlier runs exist, by one listing of each folder instead of a look at each of 100,000 files."""

from __future__ import annotations

import os
from collections import OrderedDict
from itertools import islice
from pathlib import Path

from pipelines.storage.remote import is_url
from pipelines.storage.tar_index import SEPARATOR, split_member

MOST_FOLDERS, MOST_NAMES = 64, 50_000  # that are remembered, and in each of them: a bound on the memory


class OutputIndex:
    """Tells of outputs whether they are there.

    A folder is listed when it is first asked for, and that listing holds: what a run asks is what *earlier* runs left.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._root = os.path.join(folder, "")
        self._listed: OrderedDict[str, set[str] | None] = OrderedDict()

    def has(self, output: str) -> bool:
        """Whether an output of a record exists. What was uploaded is checked when a run starts, all at once."""
        if SEPARATOR in output or "://" in output:
            if is_url(output):
                return True
            parts = split_member(output)
            output = parts[0] if parts else output
        below, _, name = output.rpartition("/")
        try:
            names = self._listed[below]
        except KeyError:
            names = self._list(below)
        return name in names if names is not None else os.path.exists(self._root + output)

    def _list(self, below: str) -> set[str] | None:
        """The names in a folder; None where they are so many that each is better looked at by itself."""
        names: set[str] | None = set()
        try:
            with os.scandir(self._root + below) as entries:
                names = {entry.name for entry in islice(entries, MOST_NAMES + 1)}
        except OSError:
            pass
        self._listed[below] = names = names if names is None or len(names) <= MOST_NAMES else None
        if len(self._listed) > MOST_FOLDERS:
            self._listed.popitem(last=False)
        return names
