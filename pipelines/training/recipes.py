"""The three encoder recipes as data: which terms count how much, and which rows are free, at every step.

Numbers are the published ones: e4e (Tov et al., SIGGRAPH 2021), LSAP (Cao et al., arXiv 2209.12746), Cycle Encoding (Xu
et al., ACM MM 2022, arXiv 2207.09367). Schedules are written in published steps and are stretched to the length of a
run, so a short run passes through every phase in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.registry import Registry

TERMS = ("pixel", "perceptual", "identity", "adversarial", "delta", "aligned")
HALVING, REMAINDER = 10_000, 5  # Cycle Encoding's second leg changes weights at steps k * 10,000 + 5


@dataclass(frozen=True)
class Moment:
    """What holds at one step: the progressive stage (rows 1..stage have offsets) and every term's weight."""

    stage: int
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """A published schedule.

    Attributes:
        steps: its length, in the authors' steps.
        weights: of the terms, at the start.
        rows_from, rows_every: step at which row 1 is freed, and the steps between two rows.
        shrink_from: the second leg (W+ -> W) begins: delta grows by `shrink`, the adversarial weight halves, every
            10,000 steps; None: there is no second leg.
        close_from, close_every: rows are taken back one by one, from the last.
    """

    name: str
    steps: int
    weights: Mapping[str, float]
    rows_from: int = 20_000
    rows_every: int = 2_000
    shrink_from: int | None = None
    shrink: float = 1.2
    close_from: int = 0
    close_every: int = 4_000

    def at(self, step: float, steps: int, num_ws: int) -> Moment:
        """What holds at `step` (from 0) of a run of `steps`."""
        place = step * self.steps / max(1, steps)
        weights = dict(self.weights)
        if self.shrink_from is not None and place >= self.shrink_from + REMAINDER:
            passed = int((place - self.shrink_from - REMAINDER) // HALVING) + 1
            growing = int((min(place, self.close_from - 1) - self.shrink_from - REMAINDER) // HALVING) + 1
            weights["delta"] *= self.shrink**growing
            weights["adversarial"] *= 0.5**passed
        return Moment(self._stage(place, num_ws - 1), weights)

    def _stage(self, place: float, last: int) -> int:
        if place < self.rows_from:
            return 0
        stage = min(last, 1 + int((place - self.rows_from) // self.rows_every))
        if self.shrink_from is not None and place >= self.close_from:
            stage = max(0, last - 1 - int((place - self.close_from) // self.close_every))
        return stage


_E4E = {"pixel": 1.0, "perceptual": 0.8, "identity": 0.1, "adversarial": 0.1, "delta": 2e-4, "aligned": 0.0}

recipes: Registry[Recipe] = Registry("recipe")
recipes.add("e4e", Recipe("e4e", 200_000, _E4E))
recipes.add("lsap", Recipe("lsap", 200_000, _E4E | {"adversarial": 0.0, "aligned": 0.5}))
recipes.add("cycle", Recipe("cycle", 750_000, _E4E, shrink_from=500_000, close_from=650_000))
