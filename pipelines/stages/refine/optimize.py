"""`--refine optimize`: an encoder's codes optimised further."""

from __future__ import annotations

from functools import partial

from pipelines.registry import Entry
from pipelines.stages.embed.optimize import OPTIONS, VERSION, OptimizeSettings, build_optimizer, looks_at_landmarks
from pipelines.stages.entry import LIKENESS, refiners

# The codes are near already: large steps of the shared w would first lose them (docs/decisions/0014).
FROM_ENCODER = OptimizeSettings(steps=30, rows_from=0, lr=0.04, rows_lr=0.1, rows_penalty=0.1)


refiners.add(
    "optimize",
    Entry(
        partial(build_optimizer, FROM_ENCODER, "delta"),
        LIKENESS,
        f"{VERSION} {FROM_ENCODER}",
        looks_at_landmarks(FROM_ENCODER.weights),
        OPTIONS,
    ),
)
