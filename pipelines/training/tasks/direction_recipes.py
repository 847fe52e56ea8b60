"""Directions that are made for composed pictures: which attribute moves, in which rows, and how the composer brings it in.

Each is the shortest whitened step that moves its own attribute and holds every other that is measured
(`direction_fit.steps_from`), cut to rows. Rows from 6 on leave the shape alone, so that a composer of skin can carry the
difference over; the rows below hold shapes. A unit is calibrated on composed pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

F64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """One direction.

    Attributes:
        target: attribute -> deviations that a step is to move; every other measured one 0.
        rows: first and last row of W+ in which it acts.
        way, region: how a composer brings it in (`pipelines.stages.compose.manners`).
        what: what + does, for people.
        free: attributes that need not be held, since they hang together with it by nature.
        longest: of one unit, as a multiple of the plain step: an attribute that the composer cannot bring to one deviation must
            not be driven out of the generator's range for it.
    """

    target: Mapping[str, float]
    rows: tuple[int, int]
    way: str
    region: str
    what: str
    free: frozenset[str] = field(default_factory=frozenset)
    longest: float = 4.0

    @property
    def moves(self) -> str:
        """The attribute that it is for."""
        return max(self.target, key=lambda name: abs(self.target[name]))


RECIPES: dict[str, Recipe] = {
    "light": Recipe({"light": 1}, (6, 17), "skin", "face", "light from the viewer's right", longest=3.0),
    "brows_up": Recipe({"brows_up": 1}, (3, 7), "shape", "eyes", "brows raised", longest=2.0),
    "face_width": Recipe({"face_width": 1}, (0, 5), "shape", "face", "wider jaw", longest=2.0),
    "surprise": Recipe(
        {"brows_up": 1, "eyes_open": 0.8, "mouth_open": 0.8},
        *((3, 7), "shape", "face", "brows, lids and mouth apart"),
        longest=2.0,
    ),
    "anger": Recipe(
        {"brows_up": -1, "eyes_open": -0.3, "smile": -0.5},
        *((3, 7), "shape", "face", "brows and corners of the mouth down"),
        longest=2.0,
    ),
    "glasses": Recipe(
        {"glasses": 1}, (0, 5), "skin", "glasses", "glasses on; less takes them off hardly ever", longest=2.0
    ),
    "lipstick": Recipe({"lipstick": 1}, (6, 17), "skin", "mouth", "lips redder and darker"),
    "eyeshadow": Recipe({"eyeshadow": 1}, (6, 17), "skin", "eyes", "upper lids darker, as made up"),
    "eyebrows": Recipe({"eyebrows": 1}, (4, 10), "skin", "eyes", "brows darker and fuller"),
    "beard": Recipe({"beard": 1}, (4, 17), "skin", "mouth", "beard and its shadow on chin and upper lip", longest=3.0),
}


def recipe_vector(recipe: Recipe, b: F64Array, names: Sequence[str], w_whiten: npt.ArrayLike) -> F64Array:
    """The W step (512) of a recipe.

    Args:
        b: attributes x 512, gradients in whitened units (`direction_fit.gradients`).
        names: of its rows.
        w_whiten: the generator's whitening matrix, 512 x 512.
    """
    held = [k for k, name in enumerate(names) if name in recipe.target or name not in recipe.free]
    target = np.array([recipe.target.get(names[k], 0.0) for k in held])
    back = np.linalg.pinv(np.asarray(w_whiten, np.float64))
    return np.asarray(np.linalg.pinv(b[held]) @ target @ back)
