"""`manifest.jsonl`: one JSON object per item, the only mark that an item is done.

A run appends to its own part, `manifest.d/PART.jsonl`, one flushed line per item after the item's files are in place.
Parts are merged into `manifest.jsonl` (sorted by key, one line per key, replaced in one step) at the end of a run and
at the start of the next. The last record of a key wins; a torn last line, the trace of a killed run, is ignored.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.files import replacing
from pipelines.records import field_checks
from pipelines.records.field_checks import Stat as Stat
from pipelines.records.field_checks import Status as Status
from pipelines.records.json_lines import LineWriter, cannot_write, parse, values, whole_lines
from pipelines.types import Failure, Quad

VERSION = 1
MANIFEST = "manifest.jsonl"
PARTS = "manifest.d"


@dataclass(frozen=True)
class Record:
    """What the manifest knows of one item (one face).

    Attributes:
        key: input-relative POSIX path without suffix; ``.n`` appended for face n > 0.
        source: absolute path of the file that was read: the photo, or the crop where the input was aligned already.
        digest: sha256 of that file's bytes, hex ("" where it could not be read).
        status: ok, failed, or skipped (an item that is no more: a photo that has fewer faces than before).
        outputs: kind -> path relative to the run's folder, POSIX.
        quad: corners of the crop in the photo, pixels; None where the source is the crop itself.
        scores: name -> finite number that a stage noted; ``faces`` = how many faces the photo has.
        fingerprint: what decided all outputs at once, in records of versions before `prints` ("" since).
        prints: kind -> what decided that output: digest + options + stage versions + weights, hashed.
        ms: stage -> milliseconds.
        error: why the item failed.
        notes: sentences about a photo that was used although something is wrong with it.
        stat: the source's (bytes, mtime in ns) when it was read: lets a resume skip without reading 100,000 photos.
        found: the way in which the face was found: a detector's name, or ``yunet turned 90`` and the like; "" where
            nobody searched.
    """

    key: str
    source: str
    digest: str = ""
    status: Status = "ok"
    outputs: Mapping[str, str] = field(default_factory=dict)
    quad: Quad | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    prints: Mapping[str, str] = field(default_factory=dict)
    ms: Mapping[str, float] = field(default_factory=dict)
    error: Failure | None = None
    notes: tuple[str, ...] = ()
    stat: Stat | None = None
    found: str = ""
    v: int = VERSION

    @property
    def faces(self) -> int:
        """How many faces its photo has."""
        return int(self.scores.get("faces", 1))

    def to_line(self) -> str:
        """One line of JSON, ASCII only (any file name survives), newline included; numbers that are not finite go."""
        error = self.error
        body = {
            "v": self.v,
            "key": self.key,
            "source": self.source,
            "digest": self.digest,
            "status": self.status,
            "outputs": dict(self.outputs),
            "quad": self.quad,
            "scores": {name: value for name, value in self.scores.items() if math.isfinite(value)},
            "fingerprint": self.fingerprint,
            "prints": dict(self.prints),
            "ms": {name: round(value, 1) for name, value in self.ms.items()},
            "error": {"stage": error.stage, "code": error.code, "message": error.message} if error else None,
            "stat": self.stat,
            **({"found": self.found} if self.found else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }
        return json.dumps(body, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, body: Any) -> Record:
        """The record of a parsed line; raises ValueError for everything that this tool does not write."""
        try:
            return cls(
                key=field_checks.inside(body["key"]),
                source=field_checks.path(body["source"]),
                digest=field_checks.ascii(body["digest"]),
                status=field_checks.status(body["v"], body["status"], VERSION),
                outputs={field_checks.path(kind): field_checks.output(path) for kind, path in body["outputs"].items()},
                quad=field_checks.quad(body.get("quad")),
                scores=field_checks.scores(body["scores"]),
                fingerprint=field_checks.ascii(body["fingerprint"]),
                prints={field_checks.path(kind): field_checks.ascii(p) for kind, p in body.get("prints", {}).items()},
                ms={field_checks.text(stage): field_checks.number(each) for stage, each in body["ms"].items()},
                error=field_checks.failure(body.get("error")),
                notes=tuple(field_checks.path(note) for note in body.get("notes", ())),
                stat=field_checks.stat(body.get("stat")),
                found=field_checks.text(body.get("found", "")),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
            raise ValueError(f"not a record of this tool ({type(error).__name__}: {error})") from None


def records_of(data: bytes) -> Iterator[Record]:
    """The records among a text's whole lines; a damaged one is passed over."""
    for value in values(data):
        with suppress(ValueError):
            yield Record.from_json(value)


def fingerprint(*parts: object) -> str:
    """sha256 (hex) of the parts as canonical JSON: the same parts give the same text on every machine."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def has_manifest(folder: Path) -> bool:
    """Whether a run has ever finished an item in this folder."""
    return (folder / MANIFEST).is_file() or bool(part_files(folder))


def part_files(folder: Path) -> list[Path]:
    """The parts that are not merged yet, by name; none where a run that is just ending has merged the last of them."""
    try:
        return sorted((folder / PARTS).glob("*.jsonl"))
    except FileNotFoundError:  # the folder went between the look at it and its listing
        return []


def read_manifest(folder: Path, notes: list[str] | None = None) -> dict[str, Record]:
    """Every key's last record, unmerged parts included; empty where there is no manifest.

    Args:
        folder: the run's folder.
        notes: takes a sentence for each file with damaged lines, which are passed over: their items count as not done.

    Raises:
        UsageError: a file of which most lines are no records; the sentence names it and the first such line.
    """
    records: dict[str, Record] = {}
    for path in (folder / MANIFEST, *part_files(folder)):
        records |= read_part(path, notes)
    return records


def read_part(path: Path, notes: list[str] | None = None) -> dict[str, Record]:
    """The records of one file alone, a torn last line ignored; arguments and errors as for `read_manifest`."""
    try:
        lines = whole_lines(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"cannot read the manifest {path}: {error.strerror}") from None
    records: dict[str, Record] = {}
    damage = Damage(path)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                record = Record.from_json(parse(line))
                records[record.key] = record
                damage.whole += 1
            except ValueError:
                damage.lines.append(number)
    damage.check(notes)
    return records


@dataclass
class Damage:
    """What is no record in one file of the manifest.

    Attributes:
        path: the file's.
        whole: how many lines are records.
        lines: the numbers of those that are not, from 1.
    """

    path: Path
    whole: int = 0
    lines: list[int] = field(default_factory=list)

    def check(self, notes: list[str] | None) -> None:
        """Tells `notes`; raises UsageError where more lines are damaged than whole: the file is somebody else's."""
        if len(self.lines) > self.whole:
            raise UsageError(
                f"line {self.lines[0]} of {self.path} is not a record of this tool, and most others are not; "
                "move the file away, or give another folder"
            )
        if self.lines and notes is not None:
            named = ", ".join(map(str, self.lines[:5])) + (", ..." if len(self.lines) > 5 else "")
            lines = "1 line" if len(self.lines) == 1 else f"{len(self.lines)} lines"
            notes.append(f"damaged: {lines} of {self.path} ({named}); a run into that folder does these items again")


def merge_parts(folder: Path, notes: list[str] | None = None) -> None:
    """Folds the parts into `manifest.jsonl`. Killed at any moment, nothing is lost: merging twice changes nothing.

    The caller must be the folder's only run. Damaged lines go; `notes` as for `read_manifest`.

    Raises:
        OutputError: the merged manifest cannot be written (the parts stay).
    """
    parts = part_files(folder)
    if not parts:
        return
    records = read_manifest(folder, notes)
    lines = (records[key].to_line() for key in sorted(records))
    _replace(folder / MANIFEST, lines)
    for part in parts:
        part.unlink(missing_ok=True)
    try:
        (folder / PARTS).rmdir()
    except OSError:  # somebody put another file there: not ours to remove
        return


class ManifestWriter(LineWriter):
    """Appends records to one part; safe to call from several threads.

    Args:
        folder: the run's folder.
        part: the part's name without suffix, one writer each.

    Raises:
        OutputError: the part cannot be opened or written.
    """

    def __init__(self, folder: Path, part: str = "run") -> None:
        super().__init__(folder / PARTS / f"{part}.jsonl")

    def append(self, record: Record) -> None:
        """One whole line or nothing."""
        self.write(record.to_line())


def _replace(path: Path, lines: Iterable[str]) -> None:
    try:
        with replacing(path) as part, open(part, "w", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None
