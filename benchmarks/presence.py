"""How much of a face edits leave, as `pipelines.stages.presence` tells it: the figures of docs/decisions/0080.

    python -m benchmarks.presence ./faces --attr smile=+3 --attr smile=+8
    python -m benchmarks.presence ./faces -o ./seen        also writes what was looked at, 256 px each

`faces` holds aligned crops (`ganinv align`). Each is inverted by the default method; every edit is looked at before it is
composed, whether or not it lies beyond its measured range. Of each edit: the least, the middle and the greatest share of the
detector's score that is left, and how many faces count as lost.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.edits import Edit, parse_edits
from pipelines.images.decode import decode, read_photo
from pipelines.images.fetch import levels
from pipelines.images.pixels import encode, resize_area, to_tensor
from pipelines.specs import EditSpec
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import YUNET, build_locator
from pipelines.stages.build import build_chain, plan_chain
from pipelines.stages.presence import SHARE, SIDE, FaceWatch
from pipelines.types import FaceBatch
from pipelines.weights.store import StoreConfig, WeightStore

EDITS = (
    "smile=+2", "smile=+3", "smile=+4", "smile=+5", "smile=+6", "smile=+8", "smile=-6", "yaw=+1.5", "yaw=+4", "yaw=+6",
    "yaw=-6", "age=+3", "age=+4", "age=+5", "age=-5", "gender=+4", "mouth_open=+6", "pitch=+6",
)  # fmt: skip


def seen(paths: list[Path], edits: tuple[Edit, ...], store: WeightStore) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Each face's pictures, an edit's name or ``inversion`` -> 1 x 256 x 256 x 3, uint8."""
    spec = EditSpec.model_validate({"inputs": ["."], "output": "unused", "compose": "none", "edits": edits})
    chain, finder = build_chain(plan_chain(spec, store), store, torch.device("cpu")), build_locator(store)
    for path in paths:
        picture = decode(read_photo(path))
        faces = FaceBatch(to_tensor([picture]), torch.from_numpy(locate(picture, finder))[None])
        with torch.no_grad():
            made = chain.edit(faces, chain.invert(faces), edits)
        pictures = {"inversion": made.base} | {name: edit.image for name, edit in made.edits.items()}
        yield path, {name: levels(resize_area(image, SIDE)) for name, image in pictures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of aligned faces")
    parser.add_argument("--attr", action="append", help="edits, as of ganinv edit")
    parser.add_argument("--every", type=int, default=1, help="only every so-manieth face, by name")
    parser.add_argument("-o", "--output", type=Path, help="where the pictures go")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    store = WeightStore(StoreConfig.from_env(os.environ))
    watch, edits = FaceWatch(store.path(YUNET)), parse_edits(options.attr or EDITS)
    shares: dict[str, list[float]] = {edit.name: [] for edit in edits}
    paths = sorted(path for path in options.faces.iterdir() if path.suffix.lower() in {".png", ".jpg", ".webp"})
    for path, pictures in seen(paths[:: options.every], edits, store):
        for name, found in shares.items():
            found.append(float(watch.left(pictures["inversion"], pictures[name])))
        for name, picture in pictures.items() if options.output else ():
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / f"{path.stem}.{name}.png").write_bytes(encode(picture[0].numpy(), "png"))
    print(f"{'edit':14} {'least':>6} {'middle':>6} {'most':>6}  lost")
    for name, found in shares.items():
        lost = sum(share < SHARE for share in found)
        print(f"{name:14} {min(found):6.2f} {np.median(found):6.2f} {max(found):6.2f}  {lost} of {len(found)}")


if __name__ == "__main__":
    main()
