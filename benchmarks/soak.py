"""Random commands over odd inputs, interrupted in every way, for as long as asked; after each, what must hold is looked at.

    python -m benchmarks.soak --minutes 60 --seed 1
    python -m benchmarks.soak --minutes 5 --photos FOLDER --odd FOLDER    other faces, other odd files

A round makes an input (a folder, a list, an archive, a run's folder; photos with faces and odd or broken files), runs a
command over it (align, invert, edit, evaluate, compare, weights), disturbs that (a signal, two, a closed stream, a full disk
or a limit on files), and runs the same command again until it comes to its end by itself. Then: no process is left; nothing
outside of the output has changed; no exit code but a documented one, and no bug; nothing half-written; no key twice; every
finished item has its files, and they are those of an undisturbed command. Most edits are made by `benchmarks._toy_parts`,
a few by the real networks. Faults are printed with the round's number: --only N does it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._soak_figures import figures_round
from benchmarks._soak_process import NONE, ROOT, run
from benchmarks._soak_round import Book, Round
from benchmarks._soak_runs import run_round
from benchmarks._soak_weights import weights_round
from benchmarks._toy_parts import OPTIONS as TOY
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore

SHARED = ROOT.parent / "shared"
PREPARED = 3  # photos in the runs that are inputs


def prepare(folder: Path, photos: list[Path]) -> Path:
    """A project with ``raw``, ``faces``, ``inversions`` and ``edits``, moved away from where its manifests say that it lies."""
    first = folder / "first"
    (first / "raw").mkdir(parents=True)
    for path in photos[:PREPARED]:
        (first / "raw" / path.name).write_bytes(path.read_bytes())
    commands = (
        ("align", "raw", "faces", "--size", "512"),
        ("invert", "faces", "inversions", *TOY),
        ("edit", "raw", "edits", "--align", "--attr", "smile=+1", *TOY),
    )
    for command, source, output, *options in commands:
        words = [command, str(first / source), "-o", str(first / output), *options]
        ended = run(words, NONE, "prepare", 0, {})
        if ended.code:
            sys.exit(f"{' '.join(words)} ends with {ended.code}: {ended.said}")
    return first.rename(folder / "moved")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this round alone")
    parser.add_argument("--kind", choices=["run", "evaluate", "weights"], help="rounds of this kind alone")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos" / "eval", help="photos with faces")
    parser.add_argument("--odd", type=Path, default=SHARED / "inputs", help="further odd files")
    given = parser.parse_args()
    photos, odd = _pictures(given.photos), _pictures(given.odd)
    if not photos:
        parser.error(f"no photos in {given.photos}")
    store = WeightStore(StoreConfig.from_env(os.environ, offline=True))
    book, number, deadline = Book(), given.only or 0, time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        prepared = prepare(Path(folder), photos)
        while time.monotonic() < deadline:
            known = len(book.faults)
            with tempfile.TemporaryDirectory(prefix="soak-") as own:
                this = Round(number, given.seed, Path(own), book)
                kind = this.chance.choices(["run", "evaluate", "weights"], [7, 2, 1])[0]
                if (given.kind or kind) == "run":
                    run_round(this, photos, odd, prepared)
                elif (given.kind or kind) == "evaluate":
                    figures_round(this, prepared)
                else:
                    weights_round(this, store)
            print(*(book.faults[known:] or [f"{this.label}: as it should be"]), sep="\n", flush=True)
            number += 1
            if given.only is not None:
                break
    print(", ".join(f"{name}: {count}" for name, count in sorted(book.counts.items())))
    print(f"{len(book.faults)} faults")
    return bool(book.faults)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.*") if path.suffix in (".jpg", ".png"))


if __name__ == "__main__":
    sys.exit(main())
