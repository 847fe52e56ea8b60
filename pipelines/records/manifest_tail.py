"""The records that a run appends to its manifest's parts, whichever process writes them, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipelines.records.json_lines import Tail, parse
from pipelines.records.manifest import PARTS, Record


class NewRecords:
    """Iterates over what has come since the last time; a line that is being written waits for the next.

    Args:
        folder: the run's folder.
        parts: pattern of the parts' names without suffix.
        skip: parts that exist already are another run's, and passed over.
    """

    def __init__(self, folder: Path, parts: str = "*", skip: bool = True) -> None:
        self._tail = Tail(folder / PARTS, f"{parts}.jsonl", skip)

    def __iter__(self) -> Iterator[Record]:
        return (record for _, record in self.by_part())

    def by_part(self) -> Iterator[tuple[str, Record]]:
        """As iteration, with the name of the part that a record stands in, without suffix."""
        for name, line in self._tail.lines():
            with suppress(ValueError):
                yield name.removesuffix(".jsonl"), Record.from_json(parse(line))

    def retire(self, parts: str) -> None:
        """These parts do not grow any more."""
        self._tail.retire(f"{parts}.jsonl")
