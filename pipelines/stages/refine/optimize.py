"""`--refine optimize`: an encoder's codes optimised further."""

from __future__ import annotations

from pipelines.stages.embed.optimize import VERSION, OptimizeEmbedder, OptimizeSettings, looks_at_landmarks
from pipelines.stages.entry import LIKENESS, Parts, refiners
from pipelines.types import Generator, Refiner

# The codes are near already: large steps of the shared w would first lose them (docs/decisions/0014).
FROM_ENCODER = OptimizeSettings(steps=30, rows_from=0, lr=0.04, rows_lr=0.1, rows_penalty=0.1)


@refiners.register("optimize", LIKENESS, f"{VERSION} {FROM_ENCODER}", looks_at_landmarks(FROM_ENCODER.weights))
def build_optimize_refiner(parts: Parts, generator: Generator) -> Refiner:
    """All rows free from the first step."""
    return OptimizeEmbedder(generator, parts.likeness(), FROM_ENCODER)
