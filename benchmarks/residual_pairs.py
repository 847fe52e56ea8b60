"""What becomes of a residual under an edit, where the answer is known: pairs in feature space, no picture.

    python -m benchmarks.residual_pairs --pairs 48 sdic sdic-wide gra
    python -m benchmarks.residual_pairs --pairs 48 full/best.safetensors one-stage/best.safetensors

For generated codes and an estimate of them the detail that the estimate lacks at 64 px is known exactly, before and after
an edit (`pipelines.training.data.feature_pairs`; seeds that no training and no choice of a checkpoint draws). All of it is at
64 px, as in the reconstruction that ships. Names are `sdic` and `sdic-wide` (their motion and gate), `gra`, or files of
`ganinv train gra`, whose ablations hold here too. First rows: no residual, and the residual where it was; rows beside each
aligner: its attention alone, and the residual drawn along its flow. Mean absolute errors, in deviations of the channels;
turns are yaw and pitch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.models.gra.attention import mix
from pipelines.models.gra.network import POINTS, GRANetwork, load_gra
from pipelines.stages.compensate.flow import warp
from pipelines.stages.compensate.gra import ASSET
from pipelines.stages.compensate.residual import GATE_WIDTH, transport
from pipelines.stages.compensate.sdic import WIDTH
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import Parts, generators
from pipelines.training.checkpoint import load_state
from pipelines.training.data.edit_pairs import TURNS
from pipelines.training.data.feature_pairs import FeaturePairs, draw_feature_pairs
from pipelines.training.loop import STATE
from pipelines.training.losses.gra import aligned
from pipelines.types import Point
from pipelines.weights.store import StoreConfig, WeightStore

FIRST = 1 << 41  # seed of the first pair
TOP = POINTS[-1]
HAND = {"sdic": WIDTH, "sdic-wide": GATE_WIDTH}
Made = dict[str, Tensor]  # row -> n x C x 64 x 64, a guess of the residual after the edit, in deviations
Look = Callable[[FeaturePairs], Made]


def by_hand(name: str, even: Callable[[Tensor], Tensor]) -> Look:
    """Moved along the feature's own motion and gated, as the compensator `name` does."""

    def look(pairs: FeaturePairs) -> Made:
        found = transport(pairs.residual[TOP], pairs.before[TOP], pairs.after[TOP], HAND[name])
        return {name: even(found)}

    return look


def by_aligners(name: str, network: GRANetwork, points: tuple[Point, ...]) -> Look:
    """Aligned by a network whose stages at `points` take part, each given the stages below as they ought to be."""

    def look(pairs: FeaturePairs) -> Made:
        sources, edited = {}, {}
        for point in points:
            evening = network.evening(point)
            residual = evening.size(pairs.residual[point])
            sources[point] = network.aligner(point).source(evening(pairs.before[point]), residual)
            edited[point] = evening(pairs.after[point])
        found = aligned(network, edited, sources)[TOP]
        residual = sources[TOP].residual
        return {
            name: found.residual,
            f"{name}: attention alone": mix(found.match, residual),
            f"{name}: along its flow": warp(residual, found.match.flow(residual.shape[-1])),
        }

    return look


def trained(path: Path, num_ws: int) -> tuple[GRANetwork, tuple[Point, ...]]:
    """The network of a run, with the run's ablations, and the stages that it aligns."""
    network = load_gra(load_state(path)["network"], num_ws)
    settings = load_state(path.with_name(STATE))["settings"]
    for point in POINTS:
        aligner = network.aligner(point)
        aligner.confident = settings.get("confident", True)
        aligner.attentive = settings.get("attentive", True)
    return network, POINTS[-1:] if settings.get("stages") == "last" else POINTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="+")
    parser.add_argument("--pairs", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = Parts(WeightStore(StoreConfig.from_env(os.environ)), torch.device("cpu"))
    generator: Any = generators.get("mobile-ffhq").build(parts)
    directions = DirectionSet(own_directions(generator.num_ws))
    shipped = load_gra(parts.tensors(ASSET), generator.num_ws)
    even = shipped.evening(TOP).size
    looks: list[Look] = [lambda pairs: {"no residual": 0 * pairs.residual[TOP], "kept": even(pairs.residual[TOP])}]
    for name in options.ways:
        if name in HAND:
            looks.append(by_hand(name, even))
        else:
            network, points = (shipped, POINTS) if name == "gra" else trained(Path(name), generator.num_ws)
            looks.append(by_aligners(name, network, points))
    errors: dict[str, dict[str, list[float]]] = {}
    with torch.no_grad():
        for first in range(FIRST, FIRST + options.pairs, 4):
            seeds = range(first, min(first + 4, FIRST + options.pairs))
            pairs = draw_feature_pairs(generator, directions, seeds, POINTS, alone=1.0)
            target = even(pairs.target[TOP])
            for row, made in (item for look in looks for item in look(pairs).items()):
                apart = (made - target).abs().mean(dim=(1, 2, 3)).tolist()
                for (edit, _), error in zip(pairs.terms, apart, strict=True):
                    kind = "turns" if edit in TURNS else "smile, mouth, age"
                    errors.setdefault(row, {}).setdefault(kind, []).append(error)
    print("| | turns | smile, mouth, age |\n|---|---|---|")
    for row, kinds in errors.items():
        means = (sum(found) / len(found) for found in (kinds["turns"], kinds["smile, mouth, age"]))
        print(f"| {row} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
