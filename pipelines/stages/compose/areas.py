"""Where edits of shape may change a photo, and where they may bring what it does not have."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, enlarge, luma, smoothstep, warp
from pipelines.stages.compose.state import WORK, Prepared

NEAR = (0.18, 0.26)  # units around lips or lids: theirs where no beard is
BEARD = (0.2, 0.5)  # darker than the face's mean by this, [-1, 1] units
EYES = ("eyes", "brow area")
DRAWN = {
    "mouth": regions.mouth_region,
    "eyes": regions.eyes_region,
    "brow area": regions.brow_area,
}


def newly_seen(state: Prepared, landmarks: Tensor, region: str, flow: Tensor) -> Tensor:
    """Where an edit may bring what the photo does not have: within lips or lids, and skin close by; beards stay."""
    lids = [regions.RIGHT_EYE, regions.LEFT_EYE]
    shapes = lids if region in EYES else [regions.LIPS] if region == "mouth" else [regions.LIPS, *lids]
    near, inside = within(state, landmarks, shapes, NEAR, regions.INSIDE)
    skin = luma(state.photo)
    mean = (skin * state.skin).sum(dim=(2, 3), keepdim=True) / state.skin.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    dark = blur(smoothstep(mean - warp(skin, flow), *BEARD), 1.5)
    return torch.maximum(inside, near * (1 - dark))


def within(
    state: Prepared, landmarks: Tensor, shapes: list[range], *reaches: tuple[float, float]
) -> tuple[Tensor, ...]:
    """Inside closed lines of landmarks, before or after the edit: for each reach, in units, n x 1 x 256 x 256."""
    lines = [points[:, list(shape)] for points in (state.face.points, landmarks) for shape in shapes]
    distance = torch.cat([regions.polygon_distance(line, WORK // 2) for line in lines], dim=1).amin(dim=1, keepdim=True)
    return tuple(enlarge(regions.soft(distance, state.face.unit, *reach), 2) for reach in reaches)


def where(state: Prepared, landmarks: Tensor, region: str) -> Tensor:
    """n x 1 x 256 x 256: a region of the face before or after the edit; of unknown names the whole face."""
    draw = DRAWN.get(region, regions.face_region)
    before, after = draw(state.face, WORK // 4), draw(regions.face_of(landmarks), WORK // 4)
    return enlarge(torch.maximum(before, after), 4)
