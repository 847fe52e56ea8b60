"""What `compare` writes: the table as Markdown, CSV and JSON, and one page with the pictures on which runs disagree."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from pipelines.errors import NoInputError, UsageError
from pipelines.evaluation.compare import RESAMPLES, Comparison, Disagreement
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import Row, pair_run
from pipelines.evaluation.report import Detail, ReportRow, Shot, render_page
from pipelines.evaluation.scatter import scatter_of
from pipelines.files import parse_json, write_atomic
from pipelines.images.pixels import encode
from pipelines.types import U8Image

ROWS = 40  # pictures shown, about 40 KB a run each
FULL = 12  # of them at full size behind a click, about 150 KB a run each
MARK = "compare.json"


def write_comparison(comparison: Comparison, folder: Path, offline: bool = False) -> None:
    """compare.json, .csv, .md and .html into `folder`, which need not exist.

    Args:
        offline: sources behind a URL are not shown.

    Raises:
        UsageError: files of these names are there that no comparison wrote.
        OutputError: they cannot be written.
    """
    files = {
        MARK: json.dumps(comparison.as_dict(), ensure_ascii=True, allow_nan=False, indent=1) + "\n",
        "compare.csv": comparison.csv(),
        "compare.md": comparison.markdown(),
    }
    pages = {name: text.encode("utf-8", errors="backslashreplace") for name, text in files.items()}
    pages["compare.html"] = render_comparison(comparison, offline)
    if not _is_ours(folder / MARK) and (taken := [name for name in pages if (folder / name).exists()]):
        raise UsageError(f"'{folder / taken[0]}' was not written by a comparison; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in pages.items():
        write_atomic(folder / name, data)


def render_comparison(comparison: Comparison, offline: bool = False) -> bytes:
    """The page, self-contained; its one script moves the slider between a source and an edit."""
    headers, table = comparison.table()
    return render_page(
        "compare.html.j2",
        script_hash=_script_hash(),
        full=FULL,
        scatter=scatter_of(comparison),
        runs=list(comparison.runs),
        resamples=RESAMPLES,
        headers=headers,
        table=table,
        notes=comparison.notes,
        headline=comparison.headline,
        rows=_rows(comparison, offline),
    )


def _rows(comparison: Comparison, offline: bool) -> list[ReportRow]:
    """The pictures on which the runs disagree most: the source, then every run's."""
    by_run = {name: _by_key(folder) for name, folder in comparison.runs.items()}
    shown = (
        _row(each, comparison.headline, by_run, offline, place < FULL)
        for place, each in enumerate(comparison.disagreements[:ROWS])
    )
    return [row for row in shown if row is not None]


def _by_key(folder: Path) -> dict[str, Row]:
    """A run's faces; none of a plain folder, which does not name its sources: its figures stand alone."""
    try:
        return {row.key: row for row in pair_run(folder, None).rows}
    except (UsageError, NoInputError):
        return {}


def _row(
    at: Disagreement, headline: str, by_run: Mapping[str, Mapping[str, Row]], offline: bool, full: bool
) -> ReportRow | None:
    key, edit = at.key, at.edit
    loaded = {name: load_row(rows[key], offline=offline) for name, rows in by_run.items() if key in rows}
    results = {name: row.results[edit] for name, row in loaded.items() if edit in row.results}
    source = next((row.source for row in loaded.values() if row.source is not None), None)
    if source is None or not results:
        return None
    shots = [_shot("source", source.image, source.full, {}, full)]
    for name, result in results.items():
        values = {headline: at.values[name]} if name in at.values else {}
        shots.append(_shot(name, result.image, result.full, values, full))
    details = [Detail.of(name, source.full, result.full) for name, result in results.items()]
    return ReportRow(f"{key}: {edit}", shots, details)


def _shot(label: str, image: U8Image, whole: U8Image, values: Mapping[str, float], full: bool) -> Shot:
    return replace(Shot.of(label, image, values), full=encode(whole, "jpg", 88) if full else b"")


def _script_hash() -> str:
    """What the page's policy lets run: this script alone."""
    script = resources.files("pipelines.evaluation").joinpath("templates", "slider.js").read_text("utf-8")
    shown = script.removesuffix("\n")  # as the template engine includes it
    return base64.b64encode(hashlib.sha256(shown.encode("utf-8")).digest()).decode("ascii")


def _is_ours(path: Path) -> bool:
    try:
        body = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(body, dict) and {"runs", "lines", "disagreements"} <= body.keys()
