"""A folder's manifest as a mapping that keeps where each record's line lies, and reads the line when it is asked for.

A `Record` with its dictionaries takes some 3 kB; 100,000 of them are 300 MB that a resume looks at once each, and that
Python's garbage collector walks over again and again. A place in a file takes a tenth of that.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pipelines.records.manifest import MANIFEST, VERSION, Record, part_files, read_manifest, read_part

_CHUNK = 1 << 16  # bytes read at once: some hundred lines
_HEAD = re.compile(rb'\{"v": ?%d, ?"key": ?"([\x20\x21\x23-\x5b\x5d-\x7e]*)", ?"source"' % VERSION)
_decode = json.JSONDecoder().raw_decode


class ManifestIndex(Mapping[str, Record]):
    """Every key's last record, unmerged parts included, as `read_manifest` gives them.

    At the start only each line's beginning is read, so that a file that is not a manifest is told before anything else;
    the rest of a line is looked at when its record is asked for.

    Args:
        folder: the run's folder; without a manifest the mapping is empty.

    Raises:
        UsageError: a line (other than a torn last one) that is not a record; the sentence names file and line. From
            the start, or from asking for that line's key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh: dict[str, Record] = {}
        self._file: BinaryIO | None = None
        self._chunk = 0, b""
        self._last: tuple[str, Record] | None = None  # a photo's record is asked for several times in a row
        try:
            self._file = open(folder / MANIFEST, "rb")  # noqa: SIM115 (as long as the mapping)
            self._places = _places(self._file)
        except FileNotFoundError:
            self._places = {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self._places, self._fresh = {}, read_manifest(folder)  # tells what is wrong, or knows better
        for path in part_files(folder):
            self._fresh |= read_part(path)
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
                head = _HEAD.match(line)
                if kind in self[head[1].decode("ascii") if head else _key(line)].outputs:
                    return True
        return False

    def __getitem__(self, key: str) -> Record:
        last = self._last  # one look: another thread may put its own there
        if last is not None and last[0] == key:
            return last[1]
        place = self._places[key]
        record = self._fresh[key] if place < 0 else self._read(key, place)
        self._last = key, record
        return record

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _read(self, key: str, place: int) -> Record:
        try:
            return Record.from_json(_decode(self._line(place).decode("utf-8"))[0])
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
            self._fresh = read_manifest(self._folder)  # tells which line is wrong
            self._places = dict.fromkeys(self._fresh, -1)
            return self._fresh[key]

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


def _places(file: BinaryIO) -> dict[str, int]:
    """Key -> where its last line begins; raises KeyError, TypeError or ValueError for a line that is no record."""
    places: dict[str, int] = {}
    place = 0
    for line in file:
        if line.endswith(b"\n") and not line.isspace():  # else: torn by a kill
            head = _HEAD.match(line)
            places[head[1].decode("ascii") if head and line.endswith(b"}\n") else _key(line)] = place
        place += len(line)
    return places


def _key(line: bytes) -> str:
    """The key of a line that does not begin as this tool writes it, or whose key holds an escaped character."""
    body, end = _decode(line.decode("utf-8"))
    key = body["key"]
    if body["v"] != VERSION or not isinstance(key, str) or line[end:] != b"\n":
        raise ValueError("not a record of this version")
    return key
