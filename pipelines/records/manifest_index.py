"""A folder's manifest as a mapping that keeps where each record's line lies, and reads the line when it is asked for.

A `Record` with its dictionaries takes some 3 kB; 100,000 of them are 300 MB that a resume looks at once each, and that
Python's garbage collector walks over again and again. A place in a file takes a tenth of that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import UsageError
from pipelines.records.json_lines import parse
from pipelines.records.manifest import MANIFEST, VERSION, Damage, Record, part_files, read_part

_CHUNK = 1 << 16  # bytes read at once: some hundred lines
_HEAD = re.compile(rb'\{"v": ?%d, ?"key": ?"([\x20\x21\x23-\x5b\x5d-\x7e]*)", ?"source"' % VERSION)


class ManifestIndex(Mapping[str, Record]):
    """Every key's last record, unmerged parts included, as `read_manifest` gives them.

    At the start only each line's beginning is read, so that a file that is not a manifest is told before anything else;
    the rest of a line is looked at when its record is asked for. A record whose line turns out to be damaged is not
    there: its item counts as not done.

    Args:
        folder: the run's folder; without a manifest the mapping is empty.

    Attributes:
        notes: sentences about damaged lines.

    Raises:
        UsageError: a file of which most lines are no records; the sentence names it and the first such line.
    """

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self._path = folder / MANIFEST
        self._fresh: dict[str, Record] = {}
        self._places: dict[str, int] = {}
        self._file: BinaryIO | None = None
        self._chunk = 0, b""
        self._last: tuple[str, Record] | None = None  # a photo's record is asked for several times in a row
        try:
            self._file = open(self._path, "rb")  # noqa: SIM115 (as long as the mapping)
            self._find_places(self._file)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"cannot read the manifest {self._path}: {error.strerror}") from None
        for path in part_files(folder):
            self._fresh |= read_part(path, self.notes)
        self._places |= dict.fromkeys(self._fresh, -1)

    def has_output(self, kind: str) -> bool:
        """Whether any record has an output of this kind. Only lines in which the word stands are parsed."""
        if any(kind in record.outputs for record in self._fresh.values()):
            return True
        if self._file is None:
            return False
        self._file.seek(0)
        word = f'"{kind}"'.encode("ascii")
        for line in self._file:
            if word in line and line.endswith(b"\n"):
                with suppress(ValueError, KeyError):
                    if kind in self[_key(line)].outputs:
                        return True
        return False

    def __getitem__(self, key: str) -> Record:
        last = self._last  # one look: another thread may put its own there
        if last is not None and last[0] == key:
            return last[1]
        place = self._places[key]
        try:
            record = self._fresh[key] if place < 0 else Record.from_json(parse(self._line(place)))
        except (OSError, ValueError):
            self._places.pop(key, None)
            self.notes.append(f"damaged: the record of {key!r} in {self._path}; a run into that folder does it again")
            raise KeyError(key) from None
        self._last = key, record
        return record

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """Keys whose records can be read: whoever asks for the keys asks for the records, too."""
        return (key for key in list(self._places) if self.get(key) is not None)

    def __len__(self) -> int:
        return len(self._places)

    def _line(self, place: int) -> bytes:
        """The line that begins there. The open file stays the one that was indexed, even after a merge replaced it."""
        assert self._file is not None
        start, text = self._chunk  # one look, as above; photos come in the order of the lines, mostly
        end = text.find(b"\n", place - start) if place >= start else -1
        size = _CHUNK
        while end < 0:
            start, text = place, os.pread(self._file.fileno(), size, place)
            end = text.find(b"\n")
            if end < 0 and len(text) < size:
                raise ValueError("the file has become shorter")
            size *= 2
        self._chunk = start, text
        return text[place - start : end]

    def _find_places(self, file: BinaryIO) -> None:
        """Where each key's last line begins."""
        place, damage = 0, Damage(self._path)
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n") and not line.isspace():  # else: torn by a kill
                try:
                    self._places[_key(line)] = place
                    damage.whole += 1
                except ValueError:
                    damage.lines.append(number)
            place += len(line)
        damage.check(self.notes)


def _key(line: bytes) -> str:
    """A line's key, read from its beginning where it begins as this tool writes it; raises ValueError."""
    head = _HEAD.match(line)
    return head[1].decode("ascii") if head and line.endswith(b"}\n") else Record.from_json(parse(line)).key
