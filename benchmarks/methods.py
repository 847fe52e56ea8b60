"""Every method on one folder of faces under one protocol, and the table of it in the docs.

    python -m benchmarks.methods ./faces --work ./methods --methods photo gra pti -o docs/methods.md

Each face is inverted and edited (`EDITS`), composed as the method does by itself, and once more from the same codes without a
composer; `ganinv evaluate` measures both. One method at a time, one face a pass, one thread. Methods that fit something to
each photo take half a minute and more a face: of these only every n-th face is done (`--every`), and the table says so. All
pictures stay in `--work`: a run that was ended goes on where it stopped, and `ganinv compare` reads them. `--keep` adds methods
to a table, of the same faces.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks._methods_table import write_tables
from benchmarks.throughput import processor
from pipelines.api import edit, evaluate
from pipelines.edits import parse_edits
from pipelines.evaluation.written import METRICS
from pipelines.images.pixels import IMAGE_SUFFIXES
from pipelines.stages.methods import methods

EDITS = ("smile=+2", "age=+1", "yaw=+0.5")
MEASURED = ("mse", "lpips", "id", "id-dlib", "same-person", "detail", "mse-outside", "moved", "passengers")
COMPOSED, PLAIN = "composed", "plain"
_FITTED = {"optimize", "lsap-o"}  # embedders that fit codes to the photo; of the refiners `sdic` alone is one pass


def is_fitted(name: str) -> bool:
    """Whether a method fits anything to each photo."""
    method = methods.get(name)
    return method.embed in _FITTED or any(refiner != "sdic" for refiner in method.refine)


def chosen_faces(folder: Path, method: str, every: int) -> list[Path]:
    """The faces that a method is run on: all of them, or every n-th by name where it fits something to each."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return files[:: every if is_fitted(method) else 1]


def make(method: str, faces: Sequence[Path], work: Path) -> None:
    """Both runs of a method; what is done already is not done again."""
    common = {"method": method, "attr": EDITS, "aligned": True, "device": "cpu", "batch_size": 1, "num_workers": 0}
    composed = work / method / COMPOSED
    edit(faces, composed, **common)
    edit(faces, work / method / PLAIN, latents=composed, compose="none", **common)


def measure(run: Path) -> None:
    """Evaluate a run that has not been, or has been with other metrics."""
    if not (run / METRICS).exists():
        evaluate(run, metrics=MEASURED, report=False, device="cpu", allow_missing=True)


def runs(work: Path, names: Sequence[str]) -> Iterator[Path]:
    """The folders of both runs of every method."""
    for name in names:
        yield from (work / name / way for way in (COMPOSED, PLAIN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of aligned faces (`ganinv align`)")
    parser.add_argument("--methods", nargs="+", default=methods.names(), help="default: all, the quick ones first")
    parser.add_argument("--work", type=Path, default=Path("methods"), help="folder for the runs")
    parser.add_argument("--every", type=int, default=4, help="of methods that fit each photo: every n-th face")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file with the markers; .json is written beside it")
    parser.add_argument(
        "--keep", action="store_true", help="leave the figures of other methods in the file as they are"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = sorted(options.methods, key=is_fitted)
    for name in names:
        print(f"{name}: pictures", flush=True)
        make(name, chosen_faces(options.faces, name, options.every), options.work)
    for run in runs(options.work, names):
        print(f"{run}: figures", flush=True)
        measure(run)
    if options.output:
        about = f"One thread of {processor()}, torch {torch.__version__}."
        write_tables(options.output, options.work, names, parse_edits(EDITS), about, options.keep)


if __name__ == "__main__":
    main()
