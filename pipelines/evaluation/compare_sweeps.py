"""`ganinv compare --animate`: the edits of a face in all runs side by side, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.evaluation.compare import Comparison
from pipelines.evaluation.contact_sheet import contact_sheet
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import Row, pair_run
from pipelines.files import write_atomic
from pipelines.images.animation import check_film, sweep
from pipelines.images.films import Film
from pipelines.records.outputs import ANIMATION, INVERSION, file_name
from pipelines.types import U8Image

_MOST = 40  # faces: those on which the runs disagree most come first


def write_sweeps(comparison: Comparison, folder: Path, film: Film = "webp", offline: bool = False) -> int:
    """``animation/KEY`` for up to 40 faces that all runs have, each frame an edit that all have, in the first run's order.

    Args:
        folder: where the comparison lies.
        film: the format.
        offline: sources behind a URL are not read.

    Returns:
        how many were written.

    Raises:
        UsageError: the format's writer is not installed.
        OutputError: a file cannot be written.
    """
    check_film(film)
    runs = {name: {row.key: row for row in pair_run(place, None).rows} for name, place in comparison.runs.items()}
    first = [each.key for each in comparison.disagreements]
    everywhere = set.intersection(*(set(rows) for rows in runs.values()))
    keys = [key for key in dict.fromkeys((*first, *sorted(everywhere))) if key in everywhere][:_MOST]
    written = 0
    for key in keys:
        frames = list(_frames(key, {name: rows[key] for name, rows in runs.items()}, offline))
        if frames:
            path = folder / ANIMATION / file_name(key, f".{film}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, sweep(frames, film))
            written += 1
    return written


def _frames(key: str, rows: Mapping[str, Row], offline: bool) -> Iterator[U8Image]:
    loaded = [load_row(row, offline=offline) for row in rows.values()]
    source = next((each.source for each in loaded if each.source is not None), None)
    edits = [edit for edit in loaded[0].results if all(edit in each.results for each in loaded) and edit != INVERSION]
    for edit in edits if source is not None else ():
        assert source is not None
        pictures = [source.image, *(each.results[edit].image for each in loaded)]
        yield contact_sheet([(f"{key}: {edit}", pictures)], ["source", *rows])
