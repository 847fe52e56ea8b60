"""Pasting eight edited faces into one photo of 24 megapixels: `python -m benchmarks.pasting`.

The photo is smooth noise with grain, the faces are tilted squares of 1200 px, and each edit changes a mouth (11 % of its
crop) or a whole face (42 %). What is timed is all that `--paste` adds to a run: the crops' way into the photo, reading the
photo, its digest, and writing it. No network is loaded.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.engine.output.paste import Paster
from pipelines.engine.types import Change, PastePlace, Result
from pipelines.records.manifest import Record
from pipelines.records.outputs import Output
from pipelines.records.photos import Origin
from pipelines.types import Quad, U8Image

WIDTH, HEIGHT, FACES, SIDE, CROP = 6000, 4000, 8, 1200, 1024
MASKS = {"mouth": (500, 800, 320, 700), "face": (150, 820, 180, 840)}  # rows and columns of a crop
OUTPUT = Output("photos/smile+2", "photo", "", "benchmark")


def photo_bytes(format: str, seed: int) -> bytes:
    """The photo's file: JPEG of quality 92, or PNG."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = random.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.int16)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(buffer, format, quality=92)
    return buffer.getvalue()


def quad(face: int) -> Quad:
    """Two rows of four, each tilted by another angle."""
    x, y = 900 + 1400 * (face % 4), 950 + 1900 * (face // 4)
    angle, half = np.deg2rad(5 * (face - 4)), SIDE / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([(-half, -half), (-half, half), (half, half), (half, -half)]) @ turn.T + (x, y)
    a, b, c, d = ((float(left), float(top)) for left, top in corners)
    return a, b, c, d


def change(edit: str, seed: int) -> Change:
    """A crop, the same crop with the edit's region brightened and displaced, and its soft mask."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8))
    crop: U8Image = np.asarray(coarse.resize((CROP, CROP), Image.Resampling.BICUBIC))
    top, bottom, left, right = MASKS[edit]
    hard = np.zeros((CROP, CROP), np.uint8)
    hard[top:bottom, left:right] = 255
    soft = Image.fromarray(hard).resize((64, 64)).resize((CROP, CROP), Image.Resampling.BICUBIC)
    mask: U8Image = np.asarray(soft)
    moved = np.clip(np.roll(crop, 5, 0).astype(np.int16) + 8, 0, 255).astype(np.uint8)
    return Change(OUTPUT, np.where(mask[:, :, None] > 0, moved, crop), crop, mask)


def seconds(path: Path, changes: list[Change]) -> float:
    """Of one pasting."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        paster, started = Paster(Path(folder)), time.perf_counter()
        for face, each in enumerate(changes):
            record = Record(f"group.{face}", str(path), digest, outputs={"smile+2": "smile+2/group.png"})
            place = PastePlace("group", face, len(changes), Origin(str(path), digest, quad(face)))
            done = paster.take(Result(record, place=place, changes=(each,)), record)
        assert done[0][1].error is None, done[0][1].error
        return time.perf_counter() - started


def main() -> None:
    """Print the median of several pastings for each format and edit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for format in ("JPEG", "PNG"):
            path = Path(folder, f"group.{format.lower()}")
            path.write_bytes(photo_bytes(format, options.seed))
            for edit in MASKS:
                changes = [change(edit, face) for face in range(FACES)]
                taken = sorted(seconds(path, changes) for _ in range(options.repeat))
                print(
                    f"{format}, {FACES} faces, {edit}: {taken[len(taken) // 2]:.2f} s (best {taken[0]:.2f})", flush=True
                )


if __name__ == "__main__":
    main()
