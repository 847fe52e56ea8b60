"""Amounts that mean something: the strength that brings one face as far as was asked, found by measuring pictures of it.

A strength does not do the same to every face, and on a composed photo not what it does to a generated one. So a few strengths
are tried as cheap pictures (`pipelines.stages.preview`), composed into the photo just as the result will be, and measured:
the first as the direction's card foretells, the next between those that lie on both sides of what was asked (regula falsi).
Strengths stay within the range in which the direction was measured: what lies beyond is said, not forced.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipelines.edits import Aim, Edit, Term, make_edit
from pipelines.images.pixels import resize_area, to_uint8
from pipelines.stages.edit.directions import Scale
from pipelines.types import Composition, F32Array, U8Image

VERSION = "1"
SIDE = 256  # px, at which photo, tries and result are measured alike
CUT = 5  # px of it
TRIES = 5  # cheap pictures for one attribute
ROUNDS = 3  # pictures at full size
NEAR = {"y": 1.0, "deg": 1.5, "sd": 0.1}  # of what was asked: near enough to stop
MISSED = {"y": 5.0, "deg": 4.0, "sd": 0.5}  # farther than this is told
NOTES = ("strength", "before", "asked", "reached")  # what the manifest holds of each aim

Measure = Callable[[list[U8Image]], Mapping[str, F32Array]]
Draw = Callable[[Edit], Composition]


@dataclass(frozen=True)
class Solved:
    """One face's strengths for an edit, and for each aim what was measured before and what that makes of the amount."""

    terms: tuple[Term, ...]
    before: tuple[float, ...]
    asked: tuple[float, ...]


class Amounts:
    """Finds strengths and measures results; pictures go to the host for it, those of measured edits only.

    Args:
        measure: pictures -> attribute -> n values in the meter's raw units, NaN where no face was found.
        scales: attribute -> what its card says of unit, mean and range.
    """

    def __init__(self, measure: Measure, scales: Mapping[str, Scale]) -> None:
        self._measure = measure
        self._scales = scales

    def look(self, image: Tensor) -> dict[str, float]:
        """All attributes of one picture, 1 x 3 x R x R: means over slightly different cuts of it.

        Networks of age jump by some years where landmarks move by a pixel; a search would take the jump for a find.
        """
        small = resize_area(image, SIDE)
        cuts = (small, small[..., :-CUT, CUT:], small[..., CUT:, :-CUT])
        measured = self._measure([picture for cut in cuts for picture in to_uint8(cut)])
        return {name: _mean(values) for name, values in measured.items()}

    def reach(self, photo: Tensor, edit: Edit, sketch: Draw, draw: Draw) -> tuple[Composition, dict[str, float]]:
        """One face's picture of an edit with aims, and its notes for the manifest.

        Cheap pictures and the final one are not quite alike: what the first result lacks is asked for once more, and the
        better result is kept.

        Args:
            photo: 1 x 3 x R x R, what the amounts are counted from.
            sketch: an edit of strengths -> its cheap picture, 1 x 3 x r x r.
            draw: the same at full size.
        """
        made: list[tuple[float, Composition, dict[str, float]]] = []
        lack = [0.0] * len(edit.aims)
        for _ in range(ROUNDS):
            solved = self.solve(photo, edit, sketch, lack)
            picture = draw(Edit(edit.name, solved.terms))
            notes = self.notes(edit, solved, picture.image)
            made.append((self._gap(edit, notes, NEAR), picture, notes))
            ends = [[notes[note_name(edit, aim, note)] for note in ("asked", "reached")] for aim in edit.aims]
            lack = [more + asked - reached for more, (asked, reached) in zip(lack, ends, strict=True)]
            if made[-1][0] <= 2 or not all(map(math.isfinite, lack)):
                break
        _, picture, notes = min(made, key=lambda each: each[0])
        return picture, notes

    def solve(self, photo: Tensor, edit: Edit, sketch: Draw, lack: Sequence[float]) -> Solved:
        """The strengths for one face, aims in their order, each with those before it at work; `lack`: to add to each."""
        start = self.look(photo)
        terms, before, asked = edit.terms, list[float](), list[float]()
        for aim, more in zip(edit.aims, lack, strict=True):
            name, scale = plain(aim.attribute), self._scales[plain(aim.attribute)]
            goal = target(aim, start[name], scale)

            def at(strength: float, name: str = name, aim: Aim = aim, others: tuple[Term, ...] = terms) -> float:
                return self.look(sketch(make_edit((*others, (aim.attribute, strength)))).image)[name]

            strength = search(at, at(0.0), goal + more, scale, _near(aim, scale))
            terms = (*terms, (aim.attribute, strength))
            before.append(start[name])
            asked.append(goal)
        return Solved(terms, tuple(before), tuple(asked))

    def notes(self, edit: Edit, solved: Solved, result: Tensor) -> dict[str, float]:
        """What the manifest tells of one face's measured edit: ``EDIT:ATTRIBUTE.before``, and the rest of `NOTES`."""
        reached, found = self.look(result), dict(solved.terms)
        noted: dict[str, float] = {}
        for aim, before, asked in zip(edit.aims, solved.before, solved.asked, strict=True):
            values = (found[aim.attribute], before, asked, reached[plain(aim.attribute)])
            noted |= {note_name(edit, aim, note): value for note, value in zip(NOTES, values, strict=True)}
        return noted

    def missed(self, edit: Edit, notes: Mapping[str, float]) -> bool:
        """Whether a face's result lies farther from what was asked than `MISSED`, or shows no face."""
        return self._gap(edit, notes, MISSED) > 1

    def _gap(self, edit: Edit, notes: Mapping[str, float], limits: Mapping[str, float]) -> float:
        """The largest distance of an aim's result from what was asked, as a multiple of its limit."""
        gaps = []
        for aim in edit.aims:
            unit = _unit(aim, self._scales[plain(aim.attribute)])
            gap = abs(notes[note_name(edit, aim, "reached")] - notes[note_name(edit, aim, "asked")])
            gaps.append(gap / (limits.get(aim.unit, limits["sd"]) * unit) if math.isfinite(gap) else math.inf)
        return max(gaps)


def note_name(edit: Edit, aim: Aim, note: str) -> str:
    """A score's name in the manifest."""
    return f"{edit.name}:{plain(aim.attribute)}.{note}"


def _mean(values: F32Array) -> float:
    """Of those that are numbers; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def plain(attribute: str) -> str:
    """Without rows: what the meter and the card call it."""
    return attribute.partition("@")[0]


def target(aim: Aim, before: float, scale: Scale) -> float:
    """What the meter is to read, in raw units."""
    value = aim.value * scale.std if aim.unit == "sd" else aim.value
    if not aim.to:
        return before + value
    return scale.mean + value if aim.unit == "sd" else value


def _near(aim: Aim, scale: Scale) -> float:
    return NEAR.get(aim.unit, NEAR["sd"]) * _unit(aim, scale)


def _unit(aim: Aim, scale: Scale) -> float:
    """What limits count in, in the meter's raw units."""
    return 1.0 if aim.unit in ("y", "deg") else scale.std


def search(at: Callable[[float], float], start: float, goal: float, scale: Scale, near: float) -> float:
    """The strength within the scale's range at which `at` comes nearest to `goal`; 0 where nothing can be measured.

    Args:
        at: strength -> measured value; NaN where the picture shows no face.
        start: its value at 0.
        near: close enough.
    """
    low, high = scale.range
    seen = {0.0: start} if math.isfinite(start) else {}
    if not seen or not math.isfinite(goal) or abs(goal - start) <= near:
        return 0.0
    guess = _within((goal - start) / scale.slope, low, high)
    for _ in range(TRIES):
        value = at(guess)
        if math.isnan(value):  # no face left: not so far
            low, high = (max(low, guess / 2), high) if guess < 0 else (low, min(high, guess / 2))
        else:
            seen[guess] = value
            if abs(value - goal) <= near:
                return guess
        guess = _within(_next(seen, goal, scale.slope), low, high)
        if any(abs(guess - other) < 0.02 for other in seen):
            break
    return min(seen, key=lambda strength: (abs(seen[strength] - goal), abs(strength)))


def _next(seen: Mapping[float, float], goal: float, slope: float) -> float:
    """Between the two neighbours nearest to 0 that lie on both sides of the goal; beyond the nearest where none do."""
    order = sorted(seen)
    sides = [(a, b) for a, b in itertools.pairwise(order) if (seen[a] - goal) * (seen[b] - goal) < 0]
    if sides:
        a, b = min(sides, key=lambda pair: abs(pair[0] + pair[1]))
        share = (goal - seen[a]) / (seen[b] - seen[a])
        return a + min(0.85, max(0.15, share)) * (b - a)  # a meter's noise must not pin the search to one end
    nearest = min(seen, key=lambda strength: abs(seen[strength] - goal))
    return nearest + (goal - seen[nearest]) / slope


def _within(value: float, low: float, high: float) -> float:
    return round(min(high, max(low, value)), 3)
