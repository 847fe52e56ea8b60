"""Cells of `--chart`: those outside the range at which an attribute was measured look it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from pipelines.edits import Edit, make_edit
from pipelines.evaluation import chart
from pipelines.stages.edit.directions import list_directions


class Grey:
    """A sitting whose every edit is a dark picture."""

    faces = SimpleNamespace(images=torch.zeros(1, 3, 8, 8))

    def draw(self, edit: Edit) -> Any:
        return SimpleNamespace(image=torch.full((1, 3, 8, 8), -1.0))


def test_cells_out_of_range_are_pale() -> None:
    about = next(each for each in list_directions() if each.range[1] < 2)
    inside, outside = (chart._cell(Grey(), make_edit([(about.name, at)])) for at in (about.range[1], 2.0))
    assert inside.max() == 0
    assert outside.min() == 128


def test_a_row_has_the_photo_in_its_middle() -> None:
    row = list(chart._row(Grey(), "smile"))
    assert len(row) == len(chart.STRENGTHS) + 1
    assert np.unique(row[2]).tolist() == [128]


def test_ranges_stand_beside_names() -> None:
    for each in list_directions():
        assert f"{each.range[1]:+g})" in chart._about(each)
