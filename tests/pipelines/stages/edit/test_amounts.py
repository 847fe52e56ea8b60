"""Strengths that are found by measuring: a toy face whose attributes are known functions of the strength."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.edits import Edit, parse_edits
from pipelines.stages.edit.amounts import Amounts, note_name, search
from pipelines.stages.edit.directions import Scale
from pipelines.types import Composition, F32Array, U8Image

AGE = Scale(mean=32, std=16, slope=16, range=(-3, 3))
SMILE = Scale(mean=1.1, std=0.2, slope=0.2, range=(-2, 2))


@pytest.mark.parametrize(
    ("curve", "goal"),
    [
        (lambda s: 30 + 16 * s, 46.0),
        (lambda s: 30 + 8 * s, 46.0),
        (lambda s: 30 + 40 * math.tanh(s), 46.0),
        (lambda s: 30 + 16 * s, 14.0),
    ],
)
def test_the_strength_is_found(curve: Callable[[float], float], goal: float) -> None:
    assert curve(search(curve, 30.0, goal, AGE, 1.0)) == pytest.approx(goal, abs=1)


def test_who_is_there_already_stays() -> None:
    assert search(lambda s: 30 + 16 * s, 30.0, 30.5, AGE, 1.0) == 0.0


def test_what_lies_beyond_the_range_is_not_forced() -> None:
    asked: list[float] = []

    def at(strength: float) -> float:
        asked.append(strength)
        return 30 + 2 * strength

    assert search(at, 30.0, 90.0, AGE, 1.0) == 3.0
    assert max(map(abs, asked)) <= 3.0


def test_a_strength_that_leaves_no_face_is_not_taken() -> None:
    found = search(lambda s: 30 + 16 * s if s < 1 else math.nan, 30.0, 60.0, AGE, 1.0)
    assert 0 < found < 1


def test_a_face_that_cannot_be_measured_stays() -> None:
    assert search(lambda s: math.nan, math.nan, 60.0, AGE, 1.0) == 0.0


def picture(age: float, smile: float) -> Tensor:
    """A face of 256 px whose levels are its attributes: 1 of red a year, 100 of green a unit of smile."""
    levels = torch.tensor((age, 100 * smile, 0.0)) / 127.5 - 1
    return levels.reshape(1, 3, 1, 1).expand(1, 3, 256, 256).clone()


def measure(images: list[U8Image]) -> dict[str, F32Array]:
    middle = np.array([image[100, 100] for image in images], np.float32)
    return {"age": middle[:, 0], "smile": middle[:, 1] / 100}


def face(age: float, smile: float, rate: float = 10.0) -> Callable[[Edit], Composition]:
    """Draws edits of that face; a smile makes it older, too."""

    def draw(edit: Edit) -> Composition:
        strengths = dict(edit.terms)
        older, broader = strengths.get("age", 0.0), strengths.get("smile", 0.0)
        return Composition(picture(age + rate * older + 2 * broader, smile + 0.2 * broader), torch.ones(1, 1, 256, 256))

    return draw


AMOUNTS = Amounts(measure, {"age": AGE, "smile": SMILE})


@pytest.mark.parametrize(
    ("text", "age", "smile"),
    [("age=+10y", 40, 1.0), ("age:=60y", 60, 1.0), ("smile:=1", None, 1.3), ("smile=+1sd,age=+10y", 40, 1.2)],
)
def test_amounts_are_reached(text: str, age: float | None, smile: float) -> None:
    [edit] = parse_edits([text])
    draw = face(30, 1.0)
    made, notes = AMOUNTS.reach(picture(30, 1.0), edit, draw, draw)
    seen = AMOUNTS.look(made.image)
    assert seen["smile"] == pytest.approx(smile, abs=0.04)
    assert age is None or seen["age"] == pytest.approx(age, abs=1.6)
    aim = edit.aims[0]
    assert notes[note_name(edit, aim, "before")] == pytest.approx(30 if aim.attribute == "age" else 1.0, abs=0.6)
    assert not AMOUNTS.missed(edit, notes)


def test_what_the_final_picture_lacks_is_asked_for_once_more() -> None:
    [edit] = parse_edits(["age=+10y"])
    _, notes = AMOUNTS.reach(picture(30, 1.0), edit, face(30, 1.0), face(30, 1.0, rate=6.0))
    assert notes["age+10y:age.reached"] == pytest.approx(40, abs=2)
    assert notes["age+10y:age.strength"] > 1.3


def test_what_cannot_be_reached_is_said() -> None:
    [edit] = parse_edits(["age:=90y"])
    _, notes = AMOUNTS.reach(picture(30, 1.0), edit, face(30, 1.0), face(30, 1.0))
    assert notes["age=90y:age.reached"] == pytest.approx(60, abs=1)
    assert notes["age=90y:age.strength"] == 3.0
    assert AMOUNTS.missed(edit, notes)
