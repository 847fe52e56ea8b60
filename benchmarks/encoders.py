"""Encoders side by side on the same faces: likeness, alignment to the latent space, and what edits of their codes do.

    python -m benchmarks.encoders --faces ./faces e4e lsap cycle cycle-w

Names are embedders of `pipelines.stages.build`, or files that `ganinv train encoder` left (best.safetensors). Everything goes
through the generator's 256 px preview, so figures are close to, not equal to, those of `ganinv evaluate`. The table is
Markdown; seconds are those of one face through the network alone.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.devices import keep_freed_memory
from pipelines.images.pixels import to_uint8
from pipelines.metrics.lec import edit_consistency
from pipelines.models.encoders.compact import CompactEncoder
from pipelines.models.faces.agegender import DlibGender
from pipelines.models.faces.attributes import AttributeMeter
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.faces.years import YEARS_ASSET, load_years
from pipelines.models.generators.style_space import nscd
from pipelines.models.perceptual.likeness import Weights
from pipelines.stages.align.aligner import locate
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import attribute_scales, own_directions
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.entry import Parts, embedders, generators
from pipelines.training.checkpoint import load_state
from pipelines.training.data.photos import as_tensor
from pipelines.weights.store import StoreConfig, WeightStore
from pipelines.weights.style_centres import cached_centre

SAME = 0.6  # dlib's distance up to which two pictures count as one person
EDITS = (("smile", 2.0), ("smile", -2.0), ("age", 2.0), ("age", -2.0))
TERMS = Weights(perceptual=1.0, pixel=1.0, identity=1.0, size=256)


class Bench:
    """The frozen networks, and the faces with their landmarks and attributes."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        keep_freed_memory()
        self.store = WeightStore(StoreConfig.from_env(os.environ))
        self.parts = Parts(self.store, torch.device("cpu"))
        self.generator: Any = generators.get("mobile-ffhq").build(self.parts)
        self.likeness = self.parts.likeness()
        self.directions = DirectionSet(own_directions(self.generator.num_ws))
        self.centre = cached_centre(self.generator, self.store.config.home / "centres")
        finder = DlibFinder(self.store.path("landmarks-68"))
        gender, years = DlibGender(self.store.path("gender-dlib")), load_years(self.store.tensors(YEARS_ASSET))
        self.meter = AttributeMeter(finder, gender, years)
        files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
        pictures = [
            np.asarray(Image.open(f).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)) for f in files
        ]
        self.faces = as_tensor(pictures)
        self.landmarks = torch.from_numpy(np.stack([locate(picture, finder) for picture in pictures])).float()

    def encoder(self, name: str) -> EncoderEmbedder:
        if not Path(name).is_file():
            return embedders.get(name).build(self.parts, self.generator)  # type: ignore[return-value]
        network = CompactEncoder(self.generator.num_ws)
        state = load_state(Path(name))
        network.load_state_dict(state["network"] if "figures" in state else state["averaged"])
        return EncoderEmbedder(network.eval().requires_grad_(False).to(memory_format=torch.channels_last))

    def look(self, codes: Tensor) -> Tensor:
        """Codes n x L x 512 -> n x 3 x 256 x 256; one by one, so that memory does not grow."""
        return torch.cat([self.generator.preview(code[None]).image.clamp(-1, 1) for code in codes])


def measure(bench: Bench, name: str) -> dict[str, float]:
    """Every figure of one encoder, means over the faces."""
    network, faces = bench.encoder(name).network, bench.faces
    started = time.perf_counter()
    codes = torch.cat([network(face[None]) for face in faces])
    row = {"s a face": (time.perf_counter() - started) / len(faces)}
    base = bench.look(codes)
    target = bench.likeness.target(faces, bench.landmarks, TERMS)
    terms = bench.likeness(base, target, TERMS)
    distance = terms["identity"].sqrt()[target.present > 0]
    row |= {"mse": float(terms["pixel"].mean()), "lpips-st-alex": float(terms["perceptual"].mean())}
    row |= {"id-dlib": float((1 - distance / 1.2).mean()), "same-person": float((distance < SAME).float().mean())}
    row["nscd"] = float(nscd(codes, bench.centre).mean())
    row |= _consistency(bench, network, codes)
    return row | _edits(bench, codes, base)


def _consistency(bench: Bench, network: Any, codes: Tensor) -> dict[str, float]:
    direction = bench.directions.get("age").vector
    found = [edit_consistency(code[None], direction, bench.look, network) for code in codes]
    return {"lec-age": float(torch.cat([value.reshape(-1) for value in found]).mean())}


def _edits(bench: Bench, codes: Tensor, base: Tensor) -> dict[str, float]:
    """How far each edit moved its attribute (in deviations), and dlib's likeness of the edited to the source face."""
    row, before = {}, bench.meter.measure(to_uint8(base))
    for name, strength in EDITS:
        pictures = bench.look(bench.directions.apply(codes, [(name, strength)]))
        after = bench.meter.measure(to_uint8(pictures))
        moved = (after[name] - before[name]) / attribute_scales()[name]
        target = bench.likeness.target(bench.faces, bench.landmarks, TERMS)
        distance = bench.likeness(pictures, target, TERMS)["identity"].sqrt()[target.present > 0]
        row[f"{name}{strength:+g} moved"] = float(np.nanmean(moved))
        row[f"{name}{strength:+g} id"] = float((1 - distance / 1.2).mean())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with torch.no_grad():
        bench = Bench(options.faces, options.threads)
        rows = {name: measure(bench, name) for name in options.encoders}
    heads = list(next(iter(rows.values())))
    print("| encoder | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[head]:.3g}" for head in heads) + " |", flush=True)


if __name__ == "__main__":
    main()
