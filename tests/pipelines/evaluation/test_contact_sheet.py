from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluation.contact_sheet import contact_sheet
from pipelines.types import U8Image


def _flat(level: int, size: int = 64) -> U8Image:
    """A flat picture of a colour that no label has."""
    return np.broadcast_to(np.uint8([level, 0, 200]), (size, size, 3)).copy()


def _places(sheet: U8Image, level: int) -> tuple[int, int, int, int]:
    """top, left, height, width of a flat picture in the sheet."""
    rows, columns = np.nonzero((sheet == (level, 0, 200)).all(axis=2))
    return int(rows.min()), int(columns.min()), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_pictures_stand_in_a_grid_in_order() -> None:
    rows = [("first", [_flat(10), _flat(60)]), ("second", [_flat(110), _flat(160, 200)])]
    sheet = contact_sheet(rows, ["a", "b"], cell=48)
    places = {level: _places(sheet, level) for level in (10, 60, 110, 160)}
    assert all(place[2:] == (48, 48) for place in places.values())
    assert places[10][0] == places[60][0] < places[110][0] == places[160][0]
    assert places[10][1] == places[110][1] < places[60][1] == places[160][1]


def test_labels_are_drawn_above_and_below() -> None:
    pictures = [_flat(10)]
    blank = contact_sheet([("", pictures)], [""], cell=64)
    above = contact_sheet([("", pictures)], ["source"], cell=64)
    top = _places(blank, 10)[0]
    assert blank.shape == above.shape
    assert (above[:top] != blank[:top]).any()
    assert (above[top:] == blank[top:]).all()
    below = contact_sheet([("name\nid 0.5", pictures)], [""], cell=64)
    assert below.shape[0] > blank.shape[0], "room for two lines"
    assert (below[top + 64 :] < 150).any()


def test_long_and_odd_labels_stay_inside_and_do_not_break() -> None:
    odd = "x" * 500 + "\udcff\x1b[31m\t晴れ"
    sheet = contact_sheet([(odd, [_flat(10)])], ["y" * 300], cell=64)
    plain = contact_sheet([("a", [_flat(10)])], ["b"], cell=64)
    assert sheet.shape == plain.shape
    assert (sheet[:, :2] == sheet[0, 0]).all(), "the margin is empty"
    assert (sheet[:, -2:] == sheet[0, 0]).all()


def test_a_missing_picture_leaves_an_empty_cell() -> None:
    full = contact_sheet([("", [_flat(10), _flat(60)])], ["", ""], cell=64)
    holed = contact_sheet([("", [_flat(10), None])], ["", ""], cell=64)
    short = contact_sheet([("", [_flat(10)])], ["", ""], cell=64)
    assert full.shape == holed.shape
    assert not (holed == (60, 0, 200)).all(axis=2).any()
    np.testing.assert_array_equal(holed, short)


@pytest.mark.parametrize(("rows", "columns", "cell"), [([], ["a"], 64), ([("", [])], [], 64), ([("", [])], ["a"], 31)])
def test_an_empty_sheet_is_refused(rows: list[tuple[str, list[U8Image]]], columns: list[str], cell: int) -> None:
    with pytest.raises(ValueError, match="needs a row, a column"):
        contact_sheet(rows, columns, cell)


def test_too_many_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="more pictures than the 1"):
        contact_sheet([("", [_flat(10), _flat(60)])], ["a"])
