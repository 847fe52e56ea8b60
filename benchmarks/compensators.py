"""Compensators side by side on the same faces and codes: what comes back, and what stays under edits.

    python -m benchmarks.compensators --faces ./faces sdic full/best.safetensors raw/best.safetensors

Names are compensators (``sdic``, ``gra``: the weights that ship) or files that `ganinv train sdic` or `ganinv train gra` left
(best.safetensors). The encoder alone is the first row. `--turns` looks at turned heads in the place of smile and age. `--gate`
adds rows in which SDIC's residual lets go at another departure of the feature. Everything goes through the generator's 256 px
preview, so figures are close to, not equal to, those of `ganinv evaluate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.encoders import EDITS, SAME, TERMS, Bench
from pipelines.images.pixels import to_uint8
from pipelines.metrics.background import outside_face
from pipelines.models.gra.network import GRANetwork, load_gra
from pipelines.models.sdic.lean import load_lean
from pipelines.stages.compensate.gra import GRACompensator
from pipelines.stages.compensate.sdic import WIDTH, SDICCompensator
from pipelines.stages.edit.directions import attribute_scales
from pipelines.stages.entry import compensators
from pipelines.training.checkpoint import load_state
from pipelines.types import FaceBatch, Inversion

Edits = tuple[tuple[str, float], ...]
TURNS: Edits = (("yaw", 1.0), ("yaw", -1.0), ("yaw", 2.0), ("yaw", -2.0))
Look = Callable[[int, Tensor], Tensor]  # (place of the face, edited codes 1 x L x 512) -> its picture


class Seen:
    """The generator with its 256 px preview in the place of full pictures."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, "preview" if name == "synthesize" else name)


def compensated(bench: Bench, name: str, codes: Tensor, width: float) -> Look:
    """The way from edited codes to a picture through the compensator `name`."""
    stage = _stage(bench, name, width)
    ready = [
        stage.prepare(FaceBatch(face[None]), Inversion(code[None]))
        for face, code in zip(bench.faces, codes, strict=True)
    ]
    return lambda i, latents: stage.render(ready[i], latents).image.clamp(-1, 1)


def _stage(bench: Bench, name: str, width: float) -> Any:
    network: Any
    if Path(name).is_file():
        state = load_state(Path(name))
        tensors = state["network"] if "figures" in state else state["averaged"]
        load = load_gra if "even.64.mean" in tensors else load_lean
        network = load(tensors, bench.generator.num_ws)
    else:
        built: Any = compensators.get(name).build(bench.parts, bench.generator)
        network = built.network
    if isinstance(network, GRANetwork):
        return GRACompensator(Seen(bench.generator), network)
    return SDICCompensator(Seen(bench.generator), network, width=width)


def measure(bench: Bench, look: Look, codes: Tensor, outside: Tensor, edits: Edits = EDITS) -> dict[str, float]:
    """Every figure of one compensator, means over the faces."""

    def looks(latents: Tensor) -> Tensor:
        return torch.cat([look(i, code[None]) for i, code in enumerate(latents)])

    base = looks(codes)
    row = _likeness(bench, base, outside, "")
    before = bench.meter.measure(to_uint8(base))
    for name, strength in edits:
        pictures = looks(bench.directions.apply(codes, [(name, strength)]))
        after = bench.meter.measure(to_uint8(pictures))
        what = f"{name}{strength:+g} "
        row[what + "moved"] = float(np.nanmean((after[name] - before[name]) / attribute_scales()[name]))
        found = _likeness(bench, pictures, outside, what)
        row |= {key: found[key] for key in (what + "id-dlib", what + "mse-outside")}
    return row


def _likeness(bench: Bench, pictures: Tensor, outside: Tensor, what: str) -> dict[str, float]:
    target = bench.likeness.target(bench.faces, bench.landmarks, TERMS)
    terms = bench.likeness(pictures, target, TERMS)
    distance = terms["identity"].sqrt()[target.present > 0]
    squared = (pictures - target.image).square().mean(dim=1)
    away = torch.stack([s[o].mean() for s, o in zip(squared, outside, strict=True)])
    row = {"mse": float(terms["pixel"].mean()), "lpips-st-alex": float(terms["perceptual"].mean())}
    row |= {"id-dlib": float((1 - distance / 1.2).mean()), "same-person": float((distance < SAME).float().mean())}
    row["mse-outside"] = float(away.nanmean())
    return {what + key: value for key, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("compensators", nargs="+")
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--encoder", default="encoder", help="whose codes: a name, or a checkpoint's file")
    parser.add_argument("--gate", type=float, action="append", default=[], help="width of the residual's gate")
    parser.add_argument("--turns", action="store_true", help="edits of yaw, and not of smile and age")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows, edits = {}, TURNS if options.turns else EDITS
    with torch.no_grad():
        bench = Bench(options.faces, options.threads)
        network = bench.encoder(options.encoder).network
        codes = torch.cat([network(face[None]) for face in bench.faces])
        outside = torch.from_numpy(np.stack([outside_face(points, 256) for points in bench.landmarks.numpy()]))
        rows["encoder alone"] = measure(
            bench, lambda i, c: bench.generator.preview(c).image.clamp(-1, 1), codes, outside, edits
        )
        for name in options.compensators:
            for width in options.gate or [WIDTH]:
                look = compensated(bench, name, codes, width)
                rows[f"{name} {width}" if options.gate else name] = measure(bench, look, codes, outside, edits)
    heads = list(next(iter(rows.values())))
    print("| compensator | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{row[head]:.3g}" for head in heads) + " |", flush=True)


if __name__ == "__main__":
    main()
