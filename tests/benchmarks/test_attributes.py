from __future__ import annotations

from benchmarks.attributes import _own, _reached, grouped
from pipelines.edits import parse_edits


def test_an_amount_is_reached_by_the_meter_that_steered_and_by_another() -> None:
    edit = parse_edits(["age:=60y"])[0]
    found = _reached(edit.aims[0], {"age": 57.0, "age-dlib": 52.0})
    assert found == {"within, age": 1.0, "within, age-dlib": 0.0, "within, age-dlib, of the reached": 0.0}
    assert "within, age-dlib, of the reached" not in _reached(edit.aims[0], {"age": 50.0, "age-dlib": 60.0})
    assert _own(edit) == ["age", "age-dlib"]
    more = parse_edits(["age=+10y"])[0]
    assert _reached(more.aims[0], {"age": 57.0, "age-dlib": 52.0}) == {}


def test_groups_are_thirds_of_skin_and_two_genders() -> None:
    rows = [{"skin": float(level), "gender": -1.0 if level % 2 else 1.0} for level in range(9)]
    sizes = {name: len(group) for name, group in grouped(rows).items()}
    assert sizes == {"dark skin": 3, "middle": 3, "light skin": 3, "women": 4, "men": 5}
