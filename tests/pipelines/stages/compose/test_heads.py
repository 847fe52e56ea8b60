"""How a head's motion fades out around it, and the background behind it."""

from __future__ import annotations

import torch

from pipelines.stages.compose.head import LEADING, _head, _side
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_parts import mean_face


def test_motion_fades_more_slowly_on_the_side_that_is_turned_away_from() -> None:
    face, ones = mean_face(), torch.ones(1, 1, 256, 256)
    to_the_right = torch.cat((-4 * ones, 0 * ones), dim=1)  # what is seen there was further left
    sides = _side(face, to_the_right, ones)
    row = int(64 * 0.6)
    assert float(sides[0, 0, row, 2]) < -0.95
    assert float(sides[0, 0, row, 61]) > 0.95
    moved = _head(face, torch.tensor([0.1]), sides)[0, 0, 4 * row]
    left, right = moved[:128].flip(0), moved[128:]
    width = [int(((line > 0.05) & (line < 0.95)).sum()) for line in (left, right)]
    assert 1.2 * width[1] < width[0] < (1 + LEADING) / (1 - LEADING) * 1.15 * width[1]
    still = _side(face, 0 * to_the_right, ones)
    assert float(still.abs().max()) == 0


def test_behind_a_head_that_moves_away_nothing_of_its_contour_is_left() -> None:
    x, y = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="xy")
    person = (((x - 128) ** 2 + (y - 140) ** 2).sqrt() < 60).float()[None, None]
    photo = (0.8 - 1.6 * person).expand(-1, 3, -1, -1)
    plate, hidden = prepared(photo, None, photo, lambda _: person).plate
    left = torch.lerp(photo, plate, hidden)
    assert float((left - 0.8).abs().max()) < 0.01
