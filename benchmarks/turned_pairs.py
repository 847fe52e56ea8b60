"""Compensators under turns of the head whose true picture is known: generated faces, their codes with an error, an edit.

    python -m benchmarks.turned_pairs --pairs 40 none sdic sdic-wide gra

Every compensator is given G(v) and codes w near v, and renders w + d; what it ought to show is G(v + d), both with the same
pasted detail (`pipelines.training.data.edit_pairs`, seeds that no training draws). Names are compensators, or files of
`ganinv train gra` (best.safetensors). Everything goes through the generator's 256 px preview. Means over the pairs; `kept` is
the inversion, before the edit.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.compensators import Seen
from pipelines.models.gra.network import load_gra
from pipelines.models.perceptual.likeness import Weights
from pipelines.stages.compensate.gra import GRACompensator
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import Parts, compensators, generators
from pipelines.training.checkpoint import load_state
from pipelines.training.data.edit_pairs import EditPairs, PairSettings, draw_edit_pairs
from pipelines.types import FaceBatch, Inversion
from pipelines.weights.store import StoreConfig, WeightStore

TERMS = Weights(perceptual=1.0, pixel=1.0, identity=1.0, size=256)
SETTINGS = PairSettings(edits=("yaw", "yaw", "pitch"), strength=2.0, plain=0.5, pulled=0.5)
FIRST = 1 << 41  # seed of the first pair: trainings use lower ones


def stage(name: str, parts: Parts, generator: Any) -> Any:
    """The compensator `name` over the preview."""
    if Path(name).is_file():
        return GRACompensator(generator, load_gra(load_state(Path(name))["network"], generator.num_ws))
    made: Any = compensators.get("residual" if name == "none" else name).build(parts, generator)
    return made


def errors(parts: Parts, made: Tensor, wanted: Tensor) -> dict[str, float]:
    likeness = parts.likeness()
    terms = likeness(made.clamp(-1, 1), likeness.target(wanted, None, TERMS), TERMS)
    return {name: float(values.mean()) for name, values in terms.items() if name != "identity"}


def measure(parts: Parts, compensator: Any, pairs: EditPairs) -> dict[str, float]:
    inversion = Inversion(pairs.codes)
    prepared = compensator.prepare(FaceBatch(pairs.source), inversion)
    kept = errors(parts, compensator.render(prepared, inversion.latents).image, pairs.source)
    edited = errors(parts, compensator.render(prepared, pairs.edited).image, pairs.target)
    return {f"kept {name}": value for name, value in kept.items()} | {f"turned {n}": v for n, v in edited.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("compensators", nargs="+")
    parser.add_argument("--pairs", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = Parts(WeightStore(StoreConfig.from_env(os.environ)), torch.device("cpu"))
    generator: Any = Seen(generators.get("mobile-ffhq").build(parts))
    directions = DirectionSet(own_directions(generator.num_ws))
    stages = {name: stage(name, parts, generator) for name in options.compensators}
    sums: dict[str, dict[str, float]] = {name: {} for name in stages}
    with torch.no_grad():
        for seed in range(FIRST, FIRST + options.pairs):
            pairs = draw_edit_pairs(generator, directions, [seed], SETTINGS)
            for name, compensator in stages.items():
                for what, value in measure(parts, compensator, pairs).items():
                    sums[name][what] = sums[name].get(what, 0.0) + value / options.pairs
    heads = list(next(iter(sums.values())))
    print("| compensator | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name, row in sums.items():
        print(f"| {name} | " + " | ".join(f"{row[head]:.4f}" for head in heads) + " |")


if __name__ == "__main__":
    main()
