"""`ganinv train`: refit the small weights of our own that the package carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ganinv_cli.options import Cache, Voice, bundled

app = typer.Typer(help="Refit the package's own small weights: the preview head, the directions.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a second run goes on from it.")]


def _fit(name: str, cache: Cache, voice: Voice, output: Path, **numbers: int) -> None:
    """Run `pipelines.training.verbs.NAME` and print the file that it wrote."""
    from ganinv_cli import console

    voice.apply()
    with console.clean_stdout():
        from pipelines.training import verbs

        train: Callable[..., Path] = getattr(verbs, name)
        path = train(cache.store(), output, _report, **numbers)
    if voice.as_json:
        console.print_json({"weights": str(path), "card": str(path.with_suffix(".json"))})
    else:
        console.table(["weights", "card"], [[path, path.with_suffix(".json")]])


def _report(figures: dict[str, Any]) -> None:
    from ganinv_cli import console

    console.note(", ".join(f"{name} {value}" for name, value in figures.items()))


@app.command()
@bundled
def head(
    cache: Cache,
    voice: Voice,
    output: Out = Path("runs/head"),
    pairs: Annotated[int, typer.Option(min=16, help="Generated faces to fit on.")] = 780,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 2600,
    seed: Seed = 0,
) -> None:
    """Fit the 256 px preview head of mobile-ffhq, and the statistics of its codes."""
    _fit("train_head", cache, voice, output, pairs=pairs, steps=steps, seed=seed)


@app.command()
@bundled
def directions(
    cache: Cache,
    voice: Voice,
    output: Out = Path("runs/directions"),
    faces: Annotated[int, typer.Option(min=600, help="Generated faces to fit on.")] = 2400,
    bench: Annotated[int, typer.Option(min=8, help="Other generated faces that calibrate and measure.")] = 20,
    seed: Seed = 1,
) -> None:
    """Fit, calibrate and measure the direction of every attribute."""
    _fit("train_directions", cache, voice, output, faces=faces, bench_faces=bench, seed=seed)
