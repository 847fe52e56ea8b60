"""Directions that are made for composed pictures: which attribute moves, in which rows, and how the composer brings it in.

Each is the shortest whitened step that moves its own attribute and holds every other that is measured
(`direction_fit.steps_from`), cut to rows. Rows from 6 on leave the shape alone, so that a composer of skin can carry the
difference over; the rows below hold shapes. A unit is calibrated on composed pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.models.faces.attributes import MEASURED
from pipelines.training.tasks.direction_fit import steps_from

F64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """One direction.

    Attributes:
        target: attribute -> deviations that a step is to move.
        held: the others that a step must not move; None: all that are measured.
        rows: first and last row of W+ in which it acts.
        way, region: how a composer brings it in (`pipelines.stages.compose.manners`).
        what: what + does, for people.
        longest: of one unit, as a multiple of the plain step: an attribute that the composer cannot bring to one deviation must
            not be driven out of the generator's range for it.
    """

    target: Mapping[str, float]
    rows: tuple[int, int]
    way: str
    region: str
    what: str
    longest: float = 4.0
    held: Collection[str] | None = None

    @property
    def moves(self) -> str:
        """The attribute that it is for."""
        return max(self.target, key=lambda name: abs(self.target[name]))


# What ageing itself changes is free: hair, beard and the width of a jaw.
WITH_AGE = frozenset(MEASURED) - {"hair", "hair_warm", "beard", "face_width", "light"}

RECIPES: dict[str, Recipe] = {
    "age": Recipe({"age": 1}, (3, 11), "shape", "skin", "older: skin, lids, folds and jaw", longest=2.0, held=WITH_AGE),
    "glasses": Recipe(
        {"glasses": 1}, (0, 5), "skin", "glasses", "glasses on; less takes them off hardly ever", longest=2.0
    ),
    "lipstick": Recipe({"lipstick": 1}, (6, 17), "skin", "mouth", "lips redder and darker", longest=1.9),
    "eyeshadow": Recipe({"eyeshadow": 1}, (6, 17), "skin", "eyes", "upper lids darker, as made up", longest=1.5),
    "eyebrows": Recipe({"eyebrows": 1}, (4, 10), "skin", "eyes", "brows darker and fuller", longest=1.5),
    "beard": Recipe({"beard": 1}, (4, 17), "skin", "mouth", "beard and its shadow on chin and upper lip", longest=1.5),
    "brows_up": Recipe({"brows_up": 1}, (3, 7), "shape", "eyes", "brows raised", longest=2.0),
    "face_width": Recipe({"face_width": 1}, (0, 5), "shape", "face", "wider jaw", longest=2.0),
}


def recipe_vector(recipe: Recipe, b: F64Array, names: Sequence[str], w_whiten: npt.ArrayLike) -> F64Array:
    """The W step (512) of a recipe.

    Args:
        b: attributes x 512, gradients in whitened units (`direction_fit.gradients`).
        names: of its rows.
        w_whiten: the generator's whitening matrix, 512 x 512.
    """
    kept = [k for k, name in enumerate(names) if recipe.held is None or name in recipe.held or name in recipe.target]
    target = np.array([recipe.target.get(names[k], 0.0) for k in kept])
    return np.asarray(target @ steps_from(b[kept], np.asarray(w_whiten, np.float32)))
