"""Where brows, beards and jaws may change: wide enough for what moves, and no wider."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pipelines.stages.compose import regions
from pipelines.stages.compose.areas import DRAWN
from pipelines.stages.compose.detail import compose_one
from pipelines.stages.compose.manners import known_manner
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_parts import mean_face
from tests.pipelines.stages.compose.test_parts import skin as skin_picture

SIDE = 256


def at(mask: torch.Tensor, index: range) -> torch.Tensor:
    """Values of a mask at landmarks."""
    x, y = (mean_face().points[0, list(index)] * SIDE).round().long().clamp(0, SIDE - 1).T
    return mask[0, 0, y, x]


def test_raised_brows_are_moved_as_a_whole() -> None:
    area, eyes = regions.brow_area(mean_face(), SIDE), regions.eyes_region(mean_face(), SIDE)
    assert at(area, range(17, 27)).min() == 1
    assert at(eyes, range(17, 27)).min() < 0.9  # the mask of lids let go of brows halfway
    assert at(area, range(48, 68)).max() == 0
    assert DRAWN[known_manner("brows_up").region] is regions.brow_area


def test_a_wider_jaw_leaves_the_head_above_the_eyes_alone() -> None:
    jaw = regions.jaw_region(mean_face(), SIDE)
    assert at(jaw, range(4, 13)).min() == 1
    assert at(jaw, range(17, 27)).max() == 0
    assert known_manner("face_width").region == "jaw"
    photo = skin_picture()
    state = prepared(photo, None, photo)
    wider = F.interpolate(photo, scale_factor=(1, 1.1), mode="bilinear")[..., 12:268].clamp(-1, 1)
    made = compose_one(state, wider, known_manner("face_width"))
    assert float(made.mask[:, :, : SIDE // 3].max()) == 0
    assert torch.equal(made.image[:, :, : SIDE // 3], photo[:, :, : SIDE // 3])


def test_beards_leave_lips_alone() -> None:
    """A beard's darkness, also where the render's lips darken along."""
    photo = skin_picture()
    state = prepared(photo, None, photo)
    mouth = regions.mouth_region(mean_face(), SIDE)
    made = compose_one(state, photo - 0.3 * mouth, known_manner("beard")).image - photo
    lips = regions.lip_bodies(mean_face(), SIDE) > 0.99
    chin = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    chin[..., 205:212, 118:138] = True
    assert float((made * lips).abs().max()) < 0.03
    assert float((made * chin).sum() / (3 * chin.sum())) < -0.1
