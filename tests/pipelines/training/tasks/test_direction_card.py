"""The card of a direction, from what a bench sees of it."""

from __future__ import annotations

import math

import numpy as np
import torch

from pipelines.stages.edit.direction_set import Direction
from pipelines.training.tasks.direction_card import STRENGTHS, Seen, facts, person_range


class Bench:
    """Two faces, on which `age` moves as told and brings hair along; beyond 2 one shows no face any more."""

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self.stds = {"age": 16.0, "hair": 20.0, "yaw": 19.0}

    def at(self, name: str, strength: float) -> Seen:
        moved = self.sign * min(strength, 2.0)
        lost = math.nan if strength > 2 else moved
        values = {"age": np.array([moved, lost]), "hair": np.array([-0.3, -0.3]) * strength, "yaw": np.full(2, 0.01)}
        return Seen(values, np.array([0.9, 0.7]))


def direction(name: str) -> Direction:
    vector = torch.zeros(18, 512)
    vector[4:9] = 1
    return Direction(name, vector, "", "")


def test_the_card_tells_effect_range_passengers_and_identity() -> None:
    found = facts(Bench(1.0), direction("age"))  # type: ignore[arg-type]
    assert (found["moves"], found["layers"]) == ("age", [4, 8])
    assert found["curve"] == {f"{s:+g}": min(s, 2.0) for s in STRENGTHS}
    assert found["range"] == [-3.0, 2.0]
    assert found["leakage"] == {"hair": -0.3}
    assert found["identity"]["+1"] == 0.8


def test_a_file_s_direction_is_named_by_what_it_moves_most_even_backwards() -> None:
    found = facts(Bench(-1.0), direction("mine"))  # type: ignore[arg-type]
    assert found["moves"] == "age"
    assert found["curve"]["+1"] == -1.0
    assert found["range"] == [-3.0, 2.0]


def test_a_range_ends_where_the_person_goes() -> None:
    likeness = {-3.0: 0.9, -2.0: 0.9, -1.0: 0.95, 1.0: 0.7, 2.0: 0.4, 3.0: 0.6}
    assert person_range((-3.0, 3.0), likeness) == (-3.0, 1.5)
    assert person_range((-2.0, 1.0), likeness) == (-2.0, 1.0)
    assert person_range((0.0, 3.0), dict.fromkeys(likeness, 0.1)) == (0.0, 0.5)
