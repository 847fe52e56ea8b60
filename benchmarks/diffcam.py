"""Where the masks of `--compose diffcam` lie: the share of each that is where its attribute lives, by landmarks.

    python -m benchmarks.diffcam ./faces [--weights best.safetensors]

`faces` holds aligned crops (`ganinv align`). `closed`: where the generator's feature changes most, without training;
`trained`: the map of `ganinv train diffcam` times the size of the change. `bounded`: as the composer uses it, as far as the
attribute reaches by landmarks. Medians over faces and both signs: `at home`, the share of the mask's sum that lies within
the attribute's part, which is the lower face (below the nose's base, within the outline and a quarter unit around), the
eyes with lids and brows, or the whole outline; `outside`, the share beyond the outline; `zero`, the share of the picture
that stays the photo's.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.edits import make_edit
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import to_tensor
from pipelines.models.diffcam.lean import POINT, LeanDiffCAM, load_lean_diffcam
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import build_locator
from pipelines.stages.compose import regions
from pipelines.stages.compose.activation import bounds, edit_masks, evidence
from pipelines.stages.compose.detail import build_detail
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import Parts, embedders
from pipelines.stages.published import generator_entry
from pipelines.training.checkpoint import load_state
from pipelines.types import FaceBatch
from pipelines.weights.store import StoreConfig, WeightStore

SIDE = 256
LOWER, EYES = ("smile", "mouth_open", "beard"), ("eyes_open", "eyeglasses", "glasses")


def lower_face(face: regions.Face) -> Tensor:
    """1 x 1 x 256 x 256 booleans: below the nose's base, in the face's outline or a quarter unit around it."""
    down = face.points[0, 8] - face.points[0, 27]
    place = (regions.pixel_grid(SIDE, SIDE, face.points) + 0.5) / SIDE
    below = ((place - face.points[0, 33].view(1, 2, 1, 1)) * down.view(1, 2, 1, 1)).sum(dim=1, keepdim=True) > 0
    return below & inside(face)


def inside(face: regions.Face) -> Tensor:
    """1 x 1 x 256 x 256 booleans: the face's outline and a quarter unit around it."""
    return regions.polygon_distance(regions.oval(face), SIDE) < 0.25 * face.unit.view(-1, 1, 1, 1)


def home(name: str, face: regions.Face) -> Tensor:
    """Where the attribute lives."""
    if name in LOWER:
        return lower_face(face)
    return regions.eyes_region(face, SIDE) > 0 if name in EYES else inside(face)


def figures(mask: Tensor, at_home: Tensor, outline: Tensor) -> list[float]:
    total = mask.sum().clamp_min(1e-6)
    share, outside = (float((mask * part).sum() / total) for part in (at_home, ~outline))
    return [share, outside, float((mask == 0).float().mean())]


@torch.no_grad()
def measure(folder: Path, weights: Path | None, strength: float) -> dict[tuple[str, str], list[list[float]]]:
    """(attribute, kind of mask) -> the figures of every face and sign."""
    store = WeightStore(StoreConfig.from_env(os.environ))
    parts = Parts(store, torch.device("cpu"))
    generator = generator_entry("mobile-ffhq", store).build(parts)
    encoder, finder = embedders.get("encoder").build(parts, generator), build_locator(store)
    directions = DirectionSet(own_directions(generator.num_ws))
    heads = build_detail(Parts(store, torch.device("cpu"), directions), generator)
    found: dict[tuple[str, str], list[list[float]]] = {}
    kinds: dict[str, LeanDiffCAM | None] = {"closed": None}
    if weights is not None:
        kinds["trained"] = load_lean_diffcam(load_state(weights)["network"])
    for path in sorted(folder.glob("*.png")):
        picture = decode(read_photo(path))
        points = torch.from_numpy(locate(picture, finder))[None]
        if not bool(points.isfinite().all()):
            continue
        face, codes = regions.face_of(points), encoder.embed(FaceBatch(to_tensor([picture]))).latents
        before = generator.features(codes, (POINT,))[POINT]
        outline = inside(face)
        for name in directions.names():
            if heads.manner(name).way == "head":  # not made by masks
                continue
            at_home, limit = home(name, face), bounds(face, heads.manner(name))
            for edit in (make_edit([(name, strength)]), make_edit([(name, -strength)])):
                change = generator.features(directions.apply(codes, edit.terms), (POINT,))[POINT] - before
                for kind, classifier in kinds.items():
                    mask = edit_masks(evidence(classifier, change, edit))
                    found.setdefault((name, kind), []).append(figures(mask, at_home, outline))
                    found.setdefault((name, f"{kind}, bounded"), []).append(figures(mask * limit, at_home, outline))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--weights", type=Path, help="best.safetensors of a run of ganinv train diffcam")
    parser.add_argument("--strength", type=float, default=2.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| attribute | mask | at home | outside | zero |\n| --- | --- | --- | --- | --- |")
    for (name, kind), rows in measure(args.faces, args.weights, args.strength).items():
        print(f"| {name} | {kind} | " + " | ".join(f"{value:.2f}" for value in np.median(rows, axis=0)) + " |")


if __name__ == "__main__":
    main()
