"""Tar archives in webdataset's style, written: ``KEY.png``, ``KEY.json``, ... side by side, the same bytes every time."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.errors import UsageError
from pipelines.files import replacing
from pipelines.storage.tar_index import read_index

_PATTERN = re.compile(r"\{(\d+)\.\.\}")


@dataclass(frozen=True)
class Archives:
    """Names of the archives: `head`, the number with at least `width` digits, `tail`; `width` 0: one archive, no number."""

    head: str
    tail: str
    first: int = 0
    width: int = 0

    @classmethod
    def parse(cls, output: str, shard: tuple[int, int] | None) -> Archives:
        """``out-{000..}.tar`` or ``out.tar``; a part of several machines' work puts ``I-of-N`` into the names.

        Raises UsageError for other braces.
        """
        mark = f"{shard[0]}-of-{shard[1]}" if shard else ""
        found = _PATTERN.search(output)
        if found is not None:
            mark = mark and mark + "-"
            return cls(output[: found.start()] + mark, output[found.end() :], int(found[1]), len(found[1]))
        if "{" in output:
            raise UsageError(f"the output '{output}' must look like 'out-{{000..}}.tar': as many archives as it takes")
        return cls(output[:-4] + (mark and "-" + mark), output[-4:])

    def name(self, place: int) -> str:
        """The archive's path; `place` counts from 0."""
        return self.head + (f"{self.first + place:0{self.width}d}" if self.width else "") + self.tail

    def folder(self) -> Path:
        """The run's folder, beside the archives."""
        parent, name = os.path.split(self.head)
        return Path(parent) / ((name.rstrip("-_. ") or "shards") + ".run")


@dataclass(frozen=True)
class Source:
    """The bytes of one member: a file, a span of a file, or `data`."""

    path: Path | None = None
    data: bytes = b""
    span: tuple[int, int] | None = None

    def read(self) -> bytes:
        if self.path is None:
            return self.data
        with open(self.path, "rb") as file:
            if self.span is None:
                return file.read()
            file.seek(self.span[0])
            return file.read(self.span[1])


def member_name(key: str, kind: str, path: str) -> str:
    """``KEY.png`` of a crop, ``KEY.KIND.png`` of every other output: a key's files stand together, as webdataset wants.

    There the key ends at the first dot of the name, so dots inside a key are written as ``%2E`` (and ``%`` as ``%25``).
    """
    suffix = os.path.splitext(path)[1]
    return f"{stem(key)}{suffix}" if kind == "face" else f"{stem(key)}.{kind.replace('/', '-')}{suffix}"


def stem(key: str) -> str:
    """A key as a member's name before its first dot."""
    head, slash, name = key.rpartition("/")
    return head + slash + name.replace("%", "%25").replace(".", "%2E")


def packed(path: Path) -> dict[str, Source]:
    """The members of an archive of this machine, by name."""
    return {member.name: Source(path, span=(member.offset, member.size)) for member in read_index(str(path))}


def write_archive(target: Path, members: Mapping[str, Source]) -> None:
    """A whole archive or none; raises OSError. The same members give the same bytes."""
    with replacing(target, unique=False) as part, open(part, "wb") as file:
        _fill(file, members)
        file.flush()
        os.fsync(file.fileno())


def _fill(file: IO[bytes], members: Mapping[str, Source]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(members, key=lambda name: (stem_of(name), name)):
            data = members[name].read()
            entry = tarfile.TarInfo(name)  # no owner, no date: they would differ from run to run
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every header


def stem_of(name: str) -> str:
    """The key of a member as webdataset sees it: up to the first dot of the file's name."""
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(".")[0]
