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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import UsageError
from pipelines.records.json_lines import LineWriter, cannot_write, parse, whole_lines
from pipelines.types import Failure, Quad

VERSION = 1
MANIFEST = "manifest.jsonl"
PARTS = "manifest.d"
Status = Literal["ok", "failed", "skipped"]
Stat = tuple[int, int]  # size in bytes, modification time in ns


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
        fingerprint: digest + options + stage versions + weights, as `fingerprint` hashes them.
        ms: stage -> milliseconds.
        error: why the item failed.
        stat: the source's (bytes, mtime in ns) when it was read: lets a resume skip without reading 100,000 photos.
    """

    key: str
    source: str
    digest: str = ""
    status: Status = "ok"
    outputs: Mapping[str, str] = field(default_factory=dict)
    quad: Quad | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    ms: Mapping[str, float] = field(default_factory=dict)
    error: Failure | None = None
    stat: Stat | None = None
    v: int = VERSION

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
            "ms": {name: round(value, 1) for name, value in self.ms.items()},
            "error": {"stage": error.stage, "code": error.code, "message": error.message} if error else None,
            "stat": self.stat,
        }
        return json.dumps(body, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Record:
        """The record of a parsed line; raises KeyError, TypeError or ValueError for anything else."""
        if body["v"] != VERSION or body["status"] not in ("ok", "failed", "skipped"):
            raise ValueError("not a record of this version")
        quad, error, stat = body.get("quad"), body.get("error"), body.get("stat")
        _check(body, error)
        return cls(
            key=body["key"],
            source=body["source"],
            digest=body["digest"],
            status=body["status"],
            outputs=body["outputs"],
            quad=tuple((float(x), float(y)) for x, y in quad) if quad else None,
            scores=body["scores"],
            fingerprint=body["fingerprint"],
            ms=body["ms"],
            error=Failure(error["stage"], error["code"], error["message"]) if error else None,
            stat=(int(stat[0]), int(stat[1])) if stat else None,
        )


def _check(body: Mapping[str, Any], error: Any) -> None:
    """Raises TypeError where a field of a parsed line has another type than it is written with."""
    texts = [body[name] for name in ("key", "source", "digest", "fingerprint")]
    texts += [*body["outputs"].values(), *(error.values() if error else ())]
    numbers = [*body["scores"].values(), *body["ms"].values()]
    if not (all(isinstance(each, str) for each in texts) and all(isinstance(each, int | float) for each in numbers)):
        raise TypeError("a field has another type than this tool writes")


def fingerprint(*parts: object) -> str:
    """sha256 (hex) of the parts as canonical JSON: the same parts give the same text on every machine."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def has_manifest(folder: Path) -> bool:
    """Whether a run has ever finished an item in this folder."""
    return (folder / MANIFEST).is_file() or bool(part_files(folder))


def part_files(folder: Path) -> list[Path]:
    """The parts that are not merged yet, by name."""
    return sorted((folder / PARTS).glob("*.jsonl"))


def read_manifest(folder: Path) -> dict[str, Record]:
    """Every key's last record, unmerged parts included; empty where there is no manifest.

    Raises:
        UsageError: a line (other than a torn last one) that is not a record; the sentence names file and line.
    """
    records: dict[str, Record] = {}
    for path in (folder / MANIFEST, *part_files(folder)):
        for record in _read_file(path):
            records[record.key] = record
    return records


def read_part(path: Path) -> dict[str, Record]:
    """The records of one part alone, a torn last line ignored; errors as for `read_manifest`."""
    return {record.key: record for record in _read_file(path)}


def merge_parts(folder: Path) -> None:
    """Folds the parts into `manifest.jsonl`. Killed at any moment, nothing is lost: merging twice changes nothing.

    The caller must be the folder's only run.

    Raises:
        OutputError: the merged manifest cannot be written (the parts stay).
    """
    parts = part_files(folder)
    if not parts:
        return
    records = read_manifest(folder)
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


def _read_file(path: Path) -> Iterable[Record]:
    try:
        lines = whole_lines(path.read_bytes())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read the manifest {path}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Record.from_json(parse(line))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
            raise UsageError(
                f"line {number} of {path} is not a record of this tool; move the file away, or choose another folder"
            ) from None


def _replace(path: Path, lines: Iterable[str]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
