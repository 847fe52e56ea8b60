"""What edits of attributes did, by group of people and by meters that did not steer.

    python -m benchmarks.attributes FACES RUN --attr age:=60y --attr yaw:=0 [--groups]

`FACES` are aligned photos, `RUN` is what ``ganinv edit`` made of them by those ``--attr``. For each edit: likeness to the
photo (as `id-dlib`), colour shift of cheeks and forehead (CIE76), share of genders that flip (`gender-dlib`), the attribute's
own change, and for ``age:=60y`` and ``yaw:=0`` the share that lies within 5 years or 4 degrees: by the meter that steered, and
by `age-dlib` and the face mesh, which steer nothing, of all photos and of those that the steering meter says were reached.
``photo:ages agree``: on how many photos as they are the two meters of age lie within 5 years of each other.
``--groups``: the same by thirds of the photos' skin (its L*), and by gender.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.edits import Aim, Edit, parse_edits
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import resize_u8, to_tensor
from pipelines.metrics.attributes import attribute_meter
from pipelines.metrics.identity import SAME_PERSON
from pipelines.metrics.skin import skin_colours, tone_shift
from pipelines.models.faces.agegender import DlibAge
from pipelines.models.faces.attributes import dlib_chip
from pipelines.models.tflite import GraphNetwork
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import build_locator
from pipelines.stages.entry import Parts
from pipelines.types import F32Array, U8Image
from pipelines.weights.formats.tflite import read_tflite
from pipelines.weights.store import StoreConfig, WeightStore

SIDE = 512  # px, at which pictures are measured
MESH_ROOM = 1.5  # side of what the mesh reads, in sizes of the landmarks' box
OUTER = (33, 263)  # the mesh's outer corners of both eyes, the viewer's left one first
WITHIN = {"age": 5.0, "yaw": 4.0}
Row = dict[str, float]


class Bench:
    """Measures one picture by everything."""

    def __init__(self, store: WeightStore) -> None:
        self.finder, self.measure = build_locator(store), attribute_meter(store)
        self.age = DlibAge(store.path("age-dlib"))
        self.mesh = GraphNetwork(read_tflite(store.path("face-mesh"))).requires_grad_(False)
        self.likeness = Parts(store, torch.device("cpu")).likeness()

    @torch.no_grad()
    def see(self, path: Path) -> tuple[Row, Any, Tensor]:
        """(its figures, colours of its skin, its descriptor); no figures where no face was found."""
        image = resize_u8(decode(read_photo(path)), SIDE, SIDE)
        marks = locate(image, self.finder)
        if not np.isfinite(marks).all():
            return {}, skin_colours(image, marks), torch.full((128,), torch.nan)
        row = {name: float(values[0]) for name, values in self.measure([image]).items()}
        row["age-dlib"] = float(
            self.age.measure([dlib_chip(image, (marks * SIDE).astype(np.float32), DlibAge.chip)])[0]
        )
        row["yaw-mesh"] = self.turn(image, marks)
        points = torch.from_numpy(marks).float()[None]
        return (
            row,
            skin_colours(image, marks),
            self.likeness.identity(self.likeness.chips(to_tensor([image]), points))[0],
        )

    def turn(self, image: U8Image, marks: F32Array) -> float:
        """Degrees by the face mesh, positive to the viewer's right."""
        low, high = marks.min(0), marks.max(0)
        middle, side = (low + high) / 2, float((high - low).max()) * MESH_ROOM
        places = (torch.arange(192) + 0.5) / 192 - 0.5
        x, y = ((middle[axis] + places * side) * 2 - 1 for axis in (0, 1))
        down, across = torch.meshgrid(y, x, indexing="ij")
        grid = torch.stack((across, down), dim=-1)[None].float()
        square = (F.grid_sample(to_tensor([image]), grid, align_corners=False, padding_mode="border") + 1) / 2
        left, right = self.mesh(square)[0].reshape(-1, 3)[list(OUTER)]
        return float(torch.rad2deg(torch.atan2(right[2] - left[2], right[0] - left[0])))


def measured(bench: Bench, faces: Path, run: Path, edits: Sequence[Edit]) -> list[Row]:
    """One row a photo: its own skin and gender, and each edit's figures as ``EDIT:FIGURE``."""
    rows = []
    for source in sorted(faces.glob("*.png")):
        before, colours, person = bench.see(source)
        if not before:
            continue
        row = {"skin": before["skin"], "gender": before["gender"]}
        row["photo:ages agree"] = float(abs(before["age"] - before["age-dlib"]) <= WITHIN["age"])
        for edit in edits:
            made = run / edit.name / source.name
            if not made.exists():
                continue
            after, seen, found = bench.see(made)
            if not after:
                continue
            figures = {name: after[name] - before[name] for name in _own(edit)}
            figures["likeness"] = 1 - float((found - person).norm()) / (2 * SAME_PERSON)
            figures["skin"] = tone_shift(colours, seen)
            figures["flips"] = float(before["gender"] * after["gender"] < 0)
            for aim in edit.aims:
                figures |= _reached(aim, after)
            row |= {f"{edit.name}:{name}": value for name, value in figures.items()}
        rows.append(row)
    return rows


def _own(edit: Edit) -> list[str]:
    names = [name for name, _ in edit.terms] + [aim.attribute for aim in edit.aims]
    return [*names, "age-dlib"] if "age" in names else names


def _reached(aim: Aim, after: Row) -> Row:
    """Whether a result is where it was sent: by the meter that steered, and by the other."""
    other = {"age": "age-dlib", "yaw": "yaw-mesh"}.get(aim.attribute)
    if not aim.to or other is None:
        return {}
    near = WITHIN[aim.attribute]
    found = {f"within, {name}": float(abs(after[name] - aim.value) <= near) for name in (aim.attribute, other)}
    if found[f"within, {aim.attribute}"]:
        found[f"within, {other}, of the reached"] = found[f"within, {other}"]
    return found


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """All, three groups by skin, two by gender."""
    low, high = np.quantile([row["skin"] for row in rows], (1 / 3, 2 / 3))
    return {
        "dark skin": [row for row in rows if row["skin"] <= low],
        "middle": [row for row in rows if low < row["skin"] <= high],
        "light skin": [row for row in rows if row["skin"] > high],
        "women": [row for row in rows if row["gender"] < 0],
        "men": [row for row in rows if row["gender"] >= 0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("faces", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--attr", action="append", required=True, help="the run's edits, as typed")
    parser.add_argument("--groups", action="store_true")
    asked = parser.parse_args()
    bench = Bench(WeightStore(StoreConfig.from_env(os.environ)))
    rows = measured(bench, asked.faces, asked.run, parse_edits(asked.attr))
    for name, group in ({"all": rows} | (grouped(rows) if asked.groups else {})).items():
        print(f"{name}, {len(group)} photos")
        figures = [figure for figure in dict.fromkeys(key for row in group for key in row) if ":" in figure]
        for figure in figures:
            values = [row[figure] for row in group if figure in row]
            print(f"  {figure:32s} {np.nanmean(values):+.3f}  of {len(values)}")


if __name__ == "__main__":
    main()
