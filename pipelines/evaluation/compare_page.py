"""What `compare` writes: the table as Markdown, CSV and JSON, and one page with the pictures on which runs disagree."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.errors import NoInputError, UsageError
from pipelines.evaluation.compare import RESAMPLES, Comparison
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import Row, pair_run
from pipelines.evaluation.report import Detail, ReportRow, Shot, render_page
from pipelines.files import parse_json, write_atomic

ROWS = 40  # pictures shown, about 40 KB a run each
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
    """The page, self-contained and without scripts."""
    headers, table = comparison.table()
    return render_page(
        "compare.html.j2",
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
        _row(key, edit, {name: rows[key] for name, rows in by_run.items() if key in rows}, offline)
        for key, edit, _ in comparison.disagreements[:ROWS]
    )
    return [row for row in shown if row is not None]


def _by_key(folder: Path) -> dict[str, Row]:
    """A run's faces; none of a plain folder, which does not name its sources: its figures stand alone."""
    try:
        return {row.key: row for row in pair_run(folder, None).rows}
    except (UsageError, NoInputError):
        return {}


def _row(key: str, edit: str, rows: dict[str, Row], offline: bool) -> ReportRow | None:
    loaded = {name: load_row(row, offline=offline) for name, row in rows.items()}
    results = {name: row.results[edit] for name, row in loaded.items() if edit in row.results}
    source = next((row.source for row in loaded.values() if row.source is not None), None)
    if source is None or not results:
        return None
    shots = [Shot.of("source", source.image), *(Shot.of(name, result.image) for name, result in results.items())]
    details = [Detail.of(name, source.full, result.full) for name, result in results.items()]
    return ReportRow(f"{key}: {edit}", shots, details)


def _is_ours(path: Path) -> bool:
    try:
        body = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(body, dict) and {"runs", "lines", "disagreements"} <= body.keys()
