"""Pivots and refinements side by side on the same faces: what LSAP and Cycle Encoding claim of pivots, looked at here.

    python -m benchmarks.refinement --faces ./faces --work ./cells --count 4

A cell is one face, one pivot and one refinement; its figures are a line of `--work`/cells.jsonl, and a cell that has one is
not done again, so a run may be ended and started at any time. Faces come one after the other, so that rows that are not
complete are means over the faces that every row has. Pictures are full ones; likeness and identity are measured on their
256 px versions, as `ganinv evaluate` does. Seconds are those of the processor, on one thread. An edit is made twice: plain,
and composed into the photo (`--compose detail`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.encoders import SAME, TERMS, Bench
from pipelines.edits import parse_edits
from pipelines.images.pixels import resize_area, to_uint8
from pipelines.models.generators.style_space import nscd
from pipelines.stages.chain import Chain
from pipelines.stages.compensate.residual import ResidualCompensator
from pipelines.stages.compose.detail import DetailComposer
from pipelines.stages.edit.direction_set import DirectionEditor
from pipelines.stages.edit.directions import attribute_scales
from pipelines.stages.entry import Parts, composers, embedders, refiners
from pipelines.stages.fitting import Fitting
from pipelines.training.data.photos import as_tensor
from pipelines.types import FaceBatch, Inversion

PIVOTS = ("e4e", "lsap", "cycle", "optimize", "lsap-o")
REFINEMENTS = ("none", "pti", "cycle", "feature", "cycle+pti")
ENCODERS = ("e4e", "lsap", "cycle")  # only these can be fitted to a photo
EDITS = ("smile=+2", "age=+2")


def cells(pivots: list[str], refinements: list[str], faces: range) -> Iterator[tuple[int, str, str]]:
    """Face, pivot, refinement; face by face."""
    for face, refinement, pivot in itertools.product(faces, refinements, pivots):
        if pivot in ENCODERS or "cycle" not in refinement:
            yield face, pivot, refinement


class Table:
    """The networks, and the figures so far."""

    def __init__(self, bench: Bench, folder: Path, faces: Path) -> None:
        self.bench, self.folder = bench, folder
        self.files = sorted(path for path in faces.iterdir() if path.suffix in (".png", ".jpg"))
        self.path = folder / "cells.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.done: dict[tuple[int, str, str], dict[str, float]] = {}
        for line in lines:
            body = json.loads(line)
            self.done[body["face"], body["pivot"], body["refinement"]] = body["figures"]
        editor = DirectionEditor(bench.directions)
        compensator = ResidualCompensator(bench.generator)
        self.chains = {
            name: Chain(bench.generator, None, (), compensator, editor, composer)  # type: ignore[arg-type]
            for name, composer in (
                ("plain", composers.get("none").build(bench.parts, bench.generator)),
                ("composed", DetailComposer()),
            )
        }

    def face(self, index: int) -> FaceBatch:
        picture = np.asarray(Image.open(self.files[index]).convert("RGB"))
        return FaceBatch(as_tensor([picture]), self.bench.landmarks[index : index + 1])

    def run(self, cell: tuple[int, str, str]) -> None:
        """Do a cell that has no figures."""
        index, pivot, refinement = cell
        face = self.face(index)
        inversion, seconds = self._pivot(index, pivot, face)
        parts = Parts(self.bench.store, torch.device("cpu"), fitting=Fitting(embed=pivot))
        built = [
            refiners.get(name).build(parts, self.bench.generator) for name in refinement.split("+") if name != "none"
        ]
        started = time.process_time()
        for refiner in built:
            inversion = refiner.refine(face, inversion)
        figures = {"core s": seconds + time.process_time() - started}
        figures |= self._figures(index, face, inversion.stored(), f"{pivot}-{refinement}")
        self.done[cell] = figures
        with self.path.open("a") as file:
            file.write(json.dumps({"face": index, "pivot": pivot, "refinement": refinement, "figures": figures}) + "\n")

    def _pivot(self, index: int, name: str, face: FaceBatch) -> tuple[Inversion, float]:
        path = self.folder / f"{name}-{index}.pt"
        if not path.exists():
            embedder = embedders.get(name).build(self.bench.parts, self.bench.generator)
            started = time.process_time()
            codes = embedder.embed(face).latents
            torch.save({"codes": codes, "seconds": time.process_time() - started}, path)
        kept = torch.load(path)
        return Inversion(kept["codes"]), float(kept["seconds"])

    @torch.no_grad()
    def _figures(self, index: int, face: FaceBatch, inversion: Inversion, name: str) -> dict[str, float]:
        bench = self.bench
        plain = self.chains["plain"].edit(face, inversion, parse_edits(EDITS))
        composed = self.chains["composed"].edit(face, inversion, parse_edits(EDITS))
        row = self._likeness(index, plain.base)
        row["nscd"] = float(nscd(inversion.latents, bench.centre).mean())
        pictures = [face.images, plain.base, *(e.image for way in (plain, composed) for e in way.edits.values())]
        strip = to_uint8(torch.cat(pictures, dim=3).clamp(-1, 1))[0]  # photo, inversion, plain edits, composed edits
        Image.fromarray(strip).save(self.folder / f"{self.files[index].stem}-{name}.png")
        source = _small(face.images)
        for way, made, before in (("plain", plain, _small(plain.base)), ("composed", composed, source)):
            start = bench.meter.measure(to_uint8(before))
            for name, edit in made.edits.items():
                what, after = name.partition("+")[0], bench.meter.measure(to_uint8(_small(edit.image)))
                moved = (after[what] - start[what]) / attribute_scales()[what]
                row[f"{way} {name} moved"] = float(moved[0])
                row[f"{way} {name} id"] = self._likeness(index, edit.image)["id"]
        return row

    def _likeness(self, index: int, image: torch.Tensor) -> dict[str, float]:
        target = self.bench.likeness.target(
            self.bench.faces[index : index + 1], self.bench.landmarks[index : index + 1], TERMS
        )
        terms = self.bench.likeness(_small(image), target, TERMS)
        distance = float(terms["identity"].sqrt())
        found = {"mse": float(terms["pixel"]), "lpips": float(terms["perceptual"])}
        return found | {"id": 1 - distance / 1.2, "same": float(distance < SAME)}


def _small(image: torch.Tensor) -> torch.Tensor:
    return resize_area(image.clamp(-1, 1), 256)


def rows(done: dict[tuple[int, str, str], dict[str, float]], count: int) -> Iterator[str]:
    """Markdown, means over the faces that every row has."""
    names = list(dict.fromkeys((pivot, refinement) for _, pivot, refinement in done))
    whole = [face for face in range(count) if all((face, *name) in done for name in names)]
    if not whole:
        return
    heads = list(dict.fromkeys(head for figures in done.values() for head in figures))
    yield f"{len(whole)} faces"
    yield ""
    yield "| pivot | refinement | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 2) + "|"
    for pivot, refinement in names:
        cell = {head: np.nanmean([done[face, pivot, refinement].get(head, np.nan) for face in whole]) for head in heads}
        yield f"| {pivot} | {refinement} | " + " | ".join(f"{cell[head]:.3g}" for head in heads) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, 1024 px")
    parser.add_argument("--work", type=Path, required=True, help="folder for figures, pivots and pictures")
    parser.add_argument("--count", type=int, default=8, help="of the faces, in the order of their names")
    parser.add_argument("--first", type=int, default=0, help="begin with this face: for several processes at once")
    parser.add_argument("--pivots", nargs="+", default=list(PIVOTS))
    parser.add_argument("--refinements", nargs="+", default=list(REFINEMENTS))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no cell after so long")
    parser.add_argument("--threads", type=int, default=1)
    options: Any = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    table = Table(Bench(options.faces, options.threads), options.work, options.faces)
    for cell in cells(options.pivots, options.refinements, range(options.first, options.count)):
        if cell not in table.done and time.monotonic() - started < 60 * options.minutes:
            table.run(cell)
    print("\n".join(rows(table.done, options.count)))


if __name__ == "__main__":
    main()
