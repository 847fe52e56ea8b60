"""One round of a soak: its chance, its folder, what it found."""

from __future__ import annotations

import collections
import random
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._soak_process import NONE, SIGNALS, Disturbance, Ended, run

CODES = {0, 2, 3, 4, 5, 6, 7, 129, 130, 141, 143, -signal.SIGKILL, -signal.SIGPIPE}  # documented, or nobody can help it


@dataclass
class Book:
    """What was done and what was wrong."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)


class Round:
    """What a round has at hand.

    Args:
        number: its number; with the seed it decides everything.
        folder: an empty folder of its own.
        book: where counts and faults go.
    """

    def __init__(self, number: int, seed: int, folder: Path, book: Book) -> None:
        self.number = number
        self.chance = random.Random(f"{seed} {number}")
        self.folder = folder
        self.label = f"round {number}"
        self.environ: dict[str, str] = {}
        self._book = book
        self._usual = 0.0

    def tell(self, what: str) -> None:
        """Something is wrong."""
        self._book.faults.append(f"{self.label}: {what}")

    def count(self, *names: str) -> None:
        """One more of each."""
        self._book.counts.update(names)

    def undisturbed(self, words: list[str], expected: set[int]) -> Ended:
        """The command with nothing in its way; its time is the measure of later disturbances."""
        ended = self._done(words, NONE, expected)
        self._usual = ended.seconds
        return ended

    def disturbed(self, words: list[str], trouble: Disturbance) -> Ended:
        """The command in trouble, which may end with any documented code."""
        return self._done(words, trouble, CODES)

    def _done(self, words: list[str], trouble: Disturbance, expected: set[int]) -> Ended:
        ended = run(words, trouble, secrets.token_hex(8), self._usual, self.environ)
        self.count(f"exit {ended.code}")
        deaths = {-number for number in SIGNALS if number in ended.unheard}
        bug = "this is a bug" in ended.said or ("Traceback" in ended.said and not ended.unheard)
        if ended.code not in expected | deaths or bug:
            self.tell(f"exit code {ended.code}: {ended.said[-1500:]}")
        if ended.left:
            self.tell(f"processes left after {trouble.name}: {ended.left}")
        return ended


def snapshot(folder: Path, but: tuple[str, ...] = ()) -> Mapping[str, tuple[int, int]]:
    """Size and time of everything below a folder, names that begin with one of `but` aside."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(but):
            status = path.lstat()
            found[name] = (0 if path.is_dir() else status.st_size, 0 if path.is_dir() else status.st_mtime_ns)
    return found


def differing(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> list[str]:
    """Names that came, went or changed, the first six."""
    return sorted({name for name, _ in set(before.items()) ^ set(after.items())})[:6]
