"""`ganinv compare`: several evaluated runs in one table and on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganinv_cli.options import OutputOptions
from pipelines.images.films import Film


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Evaluated runs; the others are compared with the first.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for compare.html, .md, .csv and .json.")
    ] = Path("comparison"),
    animate: Annotated[
        bool, typer.Option("--animate", help="Also each face's edits of all runs, side by side.")
    ] = False,
    animate_format: Annotated[
        Film, typer.Option("--animate-format", help="Of these: webp, or mp4 (ganinv[video]).")
    ] = "webp",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Show no sources that lie behind a URL.")] = False,
) -> None:
    """Compare runs that `evaluate` has measured: means with intervals, and which differences are more than noise."""
    OutputOptions(as_json=as_json, quiet=quiet).apply()
    from ganinv_cli import console, process

    with console.clean_stdout():
        with process.loading():
            from pipelines.evaluation.compare import compare_runs
            from pipelines.evaluation.compare_page import write_comparison
            from pipelines.evaluation.compare_sweeps import write_sweeps
            from pipelines.images.animation import check_film

        check_film(animate_format)
        made = compare_runs(runs)
        write_comparison(made, output, offline)
        films = write_sweeps(made, output, animate_format, offline) if animate else 0
    if as_json:
        console.print_json(made.as_dict())
    else:
        console.table(*made.table())
    for note in made.notes:
        console.note(f"warning: {note}")
    if animate:
        console.note(f"animations: {films} in {output / 'animation'}")
    console.note(f"page: {output / 'compare.html'}")
