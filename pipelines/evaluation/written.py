"""Where an evaluation is written. In a run's folder its papers lie beside the manifest; in a folder that is no run's, or where
their names are taken, in `evaluation/` below it. What `evaluate` did not write is never overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.files import parse_json, write_atomic

METRICS, REPORT, CONTACT = "metrics.json", "report.html", "contact.png"
FOLDER = "evaluation"
RETURNS = "round-trip"  # folder of a run in which its edits were edited back
_MARKS = {"count", "metrics", "edits", "images", "failures"}  # keys that every metrics.json of ours has


def choose_folder(run: Path, plain: bool, outputs: Collection[Path]) -> Path:
    """The folder that an evaluation of `run` is written to; need not exist yet.

    Args:
        run: what is evaluated.
        plain: it is no run's folder.
        outputs: the run's own pictures, which no paper may replace.

    Raises:
        UsageError: files of somebody else are in the way.
    """
    if not plain and not _taken(run, outputs):
        return run
    taken = _taken(run / FOLDER, outputs)
    if taken:
        raise UsageError(f"'{taken}' is in the way and was not written by an evaluation; move or rename it")
    return run / FOLDER


def write_papers(folder: Path, made: Mapping[str, Any], papers: Mapping[str, bytes]) -> dict[str, Any]:
    """Write metrics.json and `papers` (name -> content), each whole or not at all; gives the object of metrics.json.

    Raises:
        OutputError: they cannot be written.
    """
    kept = (_earlier(folder / METRICS) or {}).get("written")
    body = {**made, "written": {**(kept or {}), **{name: _digest(data) for name, data in papers.items()}}}
    text = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # Killed at any moment, what lies here is what the numbers speak of: the old papers go, then numbers, then new papers.
    for name in papers:
        (folder / name).unlink(missing_ok=True)
    write_atomic(folder / METRICS, text.encode("ascii"))
    for name, data in papers.items():
        write_atomic(folder / name, data)
    return body


def find_metrics(run: Path) -> Mapping[str, Any]:
    """The object of the metrics.json that an evaluation of `run` wrote.

    Raises:
        UsageError: there is none.
    """
    for folder in (run, run / FOLDER):
        if body := _earlier(folder / METRICS):
            return body
    raise UsageError(f"'{run}' has no metrics.json of an evaluation; run `ganinv evaluate` on it first")


def _taken(folder: Path, outputs: Collection[Path]) -> Path | None:
    """The first paper's name in `folder` that something else has."""
    earlier = _earlier(folder / METRICS)
    for name in (METRICS, REPORT, CONTACT):
        path = folder / name
        if path in outputs or (path.exists() and not _is_ours(path, earlier)):
            return path
    return None


def _earlier(path: Path) -> Mapping[str, Any] | None:
    """The object of an earlier evaluation's metrics.json; None for anything else."""
    try:
        body = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.keys() >= _MARKS else None


def _is_ours(path: Path, earlier: Mapping[str, Any] | None) -> bool:
    if earlier is None:
        return False
    written = earlier.get("written")
    if path.name == METRICS or not isinstance(written, dict):  # as it was once: it said nothing of other papers
        return True
    return written.get(path.name) == _digest(path.read_bytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
