"""What the composer does to edits: pictures to look at, and figures of each edit.

    python -m benchmarks.composers ./faces -o ./composed --attr smile=+1.4 --attr yaw=+0.5 --attr age@6-17=+1.5

`faces` holds aligned crops (`ganinv align`). Each face is inverted by one `sdic` pass; every edit is written as the codes alone
make it (`codes/EDIT`), composed (`detail/EDIT`) and as the mask (`masks/EDIT`). Figures, of the photos at full size:

    fine      correlation of the finest band (below about 4 px of 1024) in the middle of the face; 1 = the photo's own
    sharp     deviation of that band over the photo's
    outside   mean squared difference, [-1, 1], outside the ellipse of the face
    shift     mean difference of the low band (sigma 32 px of 1024) inside that ellipse, [-1, 1]: tone that moved
    kept      share of the picture that is the photo, bit for bit
    seconds   composing one edit of one face, the first one of a photo left out
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.edits import Edit, parse_edits
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import encode, resize_area, to_tensor, to_uint8
from pipelines.specs import EditSpec
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import build_locator
from pipelines.stages.build import build_chain, plan_chain
from pipelines.stages.compose.detail import DetailComposer
from pipelines.stages.compose.filters import blur, luma
from pipelines.types import Composition, FaceBatch, Synthesis
from pipelines.weights.store import StoreConfig, WeightStore

MIDDLE = (slice(300, 850), slice(250, 774))  # rows and columns of a 1024 px crop that are face
FIGURES = ("fine", "sharp", "outside", "shift", "kept", "seconds")


@dataclass(frozen=True)
class Rendered:
    """A face with its renders: `base` and, per edit, the picture of the codes alone."""

    key: str
    faces: FaceBatch
    base: Synthesis
    edited: dict[str, Synthesis]


def rendered(folder: Path, edits: tuple[Edit, ...], compensate: str) -> Iterator[Rendered]:
    """Invert and render every face of `folder`."""
    store = WeightStore(StoreConfig.from_env(os.environ))
    spec = EditSpec.model_validate(
        {"inputs": [str(folder)], "output": "unused", "embed": "encoder", "compensate": compensate, "compose": "none"}
        | {"edits": edits}
    )
    chain, finder = build_chain(plan_chain(spec, store), store, torch.device("cpu")), build_locator(store)
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".png", ".jpg", ".webp"}):
        picture = decode(read_photo(path))
        faces = FaceBatch(to_tensor([picture]), torch.from_numpy(locate(picture, finder))[None])
        made = chain.edit(faces, chain.invert(faces), edits)
        found = {name: Synthesis(edit.image, {}) for name, edit in made.edits.items()}
        yield Rendered(str(path.relative_to(folder).with_suffix("")), faces, Synthesis(made.base, {}), found)


def outside_ellipse(size: int) -> Tensor:
    """size x size booleans: outside the ellipse of an aligned face."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    return torch.from_numpy(((columns - 0.5) / 0.36) ** 2 + ((rows - 0.53) / 0.47) ** 2 > 1)


def figures(photo: Tensor, made: Composition, seconds: float) -> list[float]:
    """`FIGURES` of one composed face."""
    bands = [(luma(x) - blur(luma(x), 2.0))[0, 0][MIDDLE].flatten() for x in (photo, made.image)]
    fine = float(torch.corrcoef(torch.stack(bands))[0, 1])
    gap = resize_area(made.image, 256) - resize_area(photo, 256)
    outside = float(gap.square().mean(dim=1)[0][outside_ellipse(256)].mean())
    shift = float(blur(gap, 8.0).abs().mean(dim=1)[0][~outside_ellipse(256)].mean())
    sharp = float(bands[1].std() / bands[0].std().clamp_min(1e-6))
    return [fine, sharp, outside, shift, float((made.mask == 0).float().mean()), seconds]


def write(folder: Path, name: str, key: str, picture: Tensor) -> None:
    path = folder / name / f"{key}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(to_uint8(picture)[0], "png"))


def measure(folder: Path, output: Path, edits: tuple[Edit, ...], compensate: str) -> dict[str, list[list[float]]]:
    """Compose every edit of every face, write the pictures; the figures per edit's name."""
    composer = DetailComposer()
    result: dict[str, list[list[float]]] = {edit.name: [] for edit in edits}
    for face in rendered(folder, edits, compensate):
        state = composer.prepare(face.faces, None, face.base)
        composer.compose(state, face.edited[edits[0].name], edits[0])  # what is found once per photo is found now
        for edit in edits:
            start = time.perf_counter()
            made = composer.compose(state, face.edited[edit.name], edit)
            result[edit.name].append(figures(face.faces.images, made, time.perf_counter() - start))
            write(output, f"codes/{edit.name}", face.key, face.edited[edit.name].image)
            write(output, f"detail/{edit.name}", face.key, made.image)
            write(output, f"masks/{edit.name}", face.key, made.mask.expand(-1, 3, -1, -1) * 2 - 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--attr", action="append", required=True, help="an edit, as for `ganinv edit`")
    parser.add_argument("--compensate", default="sdic-wide", help="as for `ganinv edit`")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.no_grad():
        found = measure(args.faces, args.output, parse_edits(args.attr), args.compensate)
    print("| edit | faces | " + " | ".join(FIGURES) + " |\n|" + " --- |" * (len(FIGURES) + 2))
    for name, rows in found.items():
        print(f"| {name} | {len(rows)} | " + " | ".join(f"{value:.3f}" for value in np.median(rows, axis=0)) + " |")


if __name__ == "__main__":
    main()
