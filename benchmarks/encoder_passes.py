"""What more passes of an encoder bring without training: `python -m benchmarks.encoder_passes --faces ./faces [encoder]`.

Means of codes over small shifts and scales of the crop; the mirrored crop; and a second pass in the manner of ReStyle (Alaluf
et al., ICCV 2021) that needs no network of its own: the code of the photo, plus a share of the difference between it and the
code of its own picture. Through the generator's 256 px preview, as `benchmarks.encoders`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.encoders import SAME, TERMS, Bench
from pipelines.models.generators.style_space import nscd

SHIFTS = ((-3, 0), (3, 0), (0, -3), (0, 3))  # px of 256
SCALES = (0.97, 1.03)
SHARES = (0.3, 0.5, 1.0)


def placed(faces: Tensor, right: float = 0, down: float = 0, scale: float = 1) -> Tensor:
    """n x 3 x 256 x 256, read a few pixels away or from a wider crop; borders repeat."""
    side = faces.shape[-1]
    matrix = torch.tensor([[scale, 0, right * 2 / side], [0, scale, down * 2 / side]])
    grid = F.affine_grid(matrix.expand(len(faces), 2, 3), list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, padding_mode="border", align_corners=False)


class Passes:
    """One encoder and the faces."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.network = bench, bench.encoder(name).network
        self.target = bench.likeness.target(bench.faces, bench.landmarks, TERMS)

    def codes(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.network(picture[None]) for picture in pictures])

    def row(self, name: str, codes: Tensor) -> Tensor:
        """Prints the figures of the codes; the pictures."""
        pictures = self.bench.look(codes)
        terms = self.bench.likeness(pictures, self.target, TERMS)
        distance = terms["identity"].sqrt()[self.target.present > 0]
        figures = [terms["pixel"].mean(), terms["perceptual"].mean(), (1 - distance / 1.2).mean()]
        figures += [(distance < SAME).float().mean(), nscd(codes, self.bench.centre).mean()]
        print(f"| {name} | " + " | ".join(f"{float(figure):.3g}" for figure in figures) + " |", flush=True)
        return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", nargs="?", default="encoder")
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print("| codes | mse | lpips-st-alex | id-dlib | same-person | nscd |\n|---|---|---|---|---|---|")
    with torch.no_grad():
        bench = Bench(options.faces, options.threads)
        passes, faces = Passes(bench, options.encoder), bench.faces
        first = passes.codes(faces)
        pictures = passes.row("one pass", first)
        near = [first, *(passes.codes(placed(faces, *shift)) for shift in SHIFTS)]
        near += [passes.codes(placed(faces, scale=scale)) for scale in SCALES]
        passes.row("mean over shifts and scales, 7 passes", torch.stack(near).mean(dim=0))
        passes.row("mean with the mirrored crop's", (first + passes.codes(faces.flip(3))) / 2)
        step = first - passes.codes(pictures)
        for share in SHARES:
            passes.row(f"second pass, a share of {share}", first + share * step)


if __name__ == "__main__":
    main()
