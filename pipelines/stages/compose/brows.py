"""Raised and lowered brows: each moves as one body, with all its own hairs."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import enlarge, weighted_blur
from pipelines.stages.compose.state import WORK, Prepared

EVEN = 12.0  # px of 256: motion of brows is as even as that
SHORT = 1.35  # so far does a motion as even as that fall short of what landmarks of brows move
LIDS = (0.08, 0.2)  # units around an eye: lids move by themselves


def even(state: Prepared, flow: Tensor) -> Tensor:
    """A flow n x 2 x 256 x 256 that is the brows' own all around them, and unchanged at the lids.

    Where a render's brow is longer or thicker than the photo's, flow swirls, and hairs would curl with it.
    """
    brows = enlarge(regions.brows_region(state.face, WORK // 2, thick=0.15, edge=(0.0, 0.1)), 2)
    eyes = [
        regions.polygon_distance(state.face.points[:, list(e)], WORK // 4)
        for e in (regions.LEFT_EYE, regions.RIGHT_EYE)
    ]
    lids = enlarge(regions.soft(torch.minimum(*eyes), state.face.unit, *LIDS), 4)
    return torch.lerp(weighted_blur(flow, brows + 1e-3, EVEN) * SHORT, flow, lids)


def own(state: Prepared, landmarks: Tensor) -> Tensor:
    """n x 1 x 256 x 256: where brows are before or after an edit, and look as the photo's do: a render's are others."""
    faces = state.face, regions.face_of(landmarks)
    before, after = (regions.brows_region(face, WORK // 2, thick=0.1, edge=(0.0, 0.1)) for face in faces)
    return enlarge(torch.maximum(before, after), 2)
