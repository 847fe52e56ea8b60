"""What an edit moved, and what came along: attributes whose changes are known by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.edits import make_aim, make_edit, parse_edits
from pipelines.metrics.attributes import AttributeChange
from pipelines.metrics.effects import Moved, Passengers
from pipelines.metrics.faces import Trio
from pipelines.types import F32Array, U8Image
from tests.pipelines.metrics.fakes import faces

SCALES = {"smile": 10.0, "age": 20.0, "yaw": 5.0, "beard": 1.0}


def _colours(images: list[U8Image]) -> dict[str, F32Array]:
    """smile is red, age green, yaw blue; a beard is never seen."""
    means = np.float32([image.mean((0, 1)) for image in images])
    unseen = np.full(len(images), np.nan, np.float32)
    return {"smile": means[:, 0], "age": means[:, 1], "yaw": means[:, 2], "beard": unseen}


def _plain(*colour: int) -> U8Image:
    return np.full((64, 64, 3), colour, np.uint8)


def _scores(trio: Trio) -> dict[str, list[float]]:
    change = AttributeChange(_colours, SCALES)
    made = {**Moved(change).score(trio), **Passengers(change).score(trio)}
    return {name: values.tolist() for name, values in made.items()}


def _trio(attr: str, **more: Any) -> Trio:
    photo, inversion, edited = (
        faces([_plain(*colour)]) for colour in ((100, 100, 100), (90, 100, 100), (110, 104, 95))
    )
    return Trio(photo, inversion, edited, parse_edits([attr])[0], **more)


def test_a_plain_edit_starts_at_the_inversion() -> None:
    # red 90 -> 110 is two deviations at strength 2; green moved by 0.2 deviations, blue by 1
    made = _scores(_trio("smile=+2"))
    assert made["moved"] == pytest.approx([1.0])
    assert made["passengers"] == pytest.approx([(0.2 + 1.0) / 2 / 2])


def test_a_composed_edit_starts_at_the_photo() -> None:
    assert _scores(_trio("smile=+2", composed=True))["moved"] == pytest.approx([0.5])


def test_the_wrong_way_is_less_than_nothing_and_rows_mean_the_same_attribute() -> None:
    assert _scores(_trio("smile@0-3=-2"))["moved"] == pytest.approx([-1.0])


def test_of_several_attributes_the_mean_counts_and_none_is_a_passenger() -> None:
    made = _scores(_trio("smile=+2,age=+1,yaw=+1"))
    assert made["moved"] == pytest.approx([(1.0 + 0.2 - 1.0) / 3])
    assert np.isnan(made["passengers"]).all()  # a beard that no picture shows has no say


def test_what_has_no_strength_has_no_figure() -> None:
    trio = _trio("smile=+2")
    for edit in (None, make_edit([("smile", 0.0)]), make_edit([], [make_aim("age", 60.0)])):
        assert _scores(Trio(trio.source, trio.base, trio.result, edit)) == {}
    assert _scores(Trio(trio.source, None, trio.result, trio.edit)) == {}
    assert "moved" not in _scores(_trio("wings=+1"))
