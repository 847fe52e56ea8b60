"""*Head* edits (yaw, pitch): the photo's head turns before a background that stands still.

The head is moved by the motion between the two renders, and the motion fades out in a rim around it. What comes into view (an
ear, the far cheek, background behind hair that went) is the render's, in the photo's tone and grain: wherever the motion
does not explain the edit, and wherever the photo still shows what the edited render does not, so that no second contour of
cheek, ear or hair is left behind.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, length, smoothstep, warp, weighted_blur
from pipelines.stages.compose.shape import Change, Limits, apply_change, assembled, registered
from pipelines.stages.compose.state import WORK, Prepared

RISE = 0.5  # units from the brows to where the motion ends, for the least turn
RIGID = 4.0  # px of 256; a head turns as one: its motion is smooth, and what the face does counts most
BESIDE = (0.35, 0.9)  # units around the outline in which hair and ears are
FAR = (0.055, 0.085)  # units of mean motion: about yaw 0.5 and 0.9; above, what the head uncovers is wider than the rim
DIFFERENT = (0.12, 0.3)  # rms of edited - unedited render, [-1, 1] units
OWN = 0.2  # more of it, where the face is before and after
CONTOUR = 2  # px of 256: this wide, the photo's own contour is not carried along
LIMITS = Limits(new=0.12, shade=0.25, still=(0.15, 0.5))


def turn(state: Prepared, edited: Tensor, asked: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Picture n x 3 x R x R, mask n x 1 x 256 x 256 and landmarks of a head edit; edited n x 3 x R x R.

    Args:
        asked: mask n x 1 x 256 x 256 (`regions.asked_region`) instead of the head.
    """
    change = find_turn(state, resize_area(edited, WORK), asked)
    return apply_change(state, edited, change), change.mask, change.landmarks


def find_turn(state: Prepared, edited: Tensor, asked: Tensor | None = None) -> Change:
    """What a head edit does; edited n x 3 x 256 x 256."""
    edited, found, onto = registered(state, edited)
    landmarks = regions.moved_landmarks(state.face.points, found)
    after_face = regions.face_of(landmarks)
    inner = enlarge(regions.face_region(after_face, WORK // 4), 4)
    face = torch.maximum(state.skin, inner)
    angle = _angle(found, face, state.face.unit)
    head = torch.maximum(_head(state.face, angle), _head(after_face, angle)) if asked is None else asked
    flow = weighted_blur(found, face + 0.05, RIGID) * head
    # A small turn fits into the rim, and more of the photo is kept.
    left = _left_behind(state, edited, landmarks) * smoothstep(angle, *FAR).view(-1, 1, 1, 1)
    mask = torch.maximum(head, left) if asked is None else asked
    before, after = state.person, torch.maximum(state.matte(edited), inner)
    anybody = torch.maximum(state.plate[1], blur(dilate(after, 2), 1.0))
    mask = mask * anybody
    now = regions.soft(regions.polygon_distance(regions.oval(after_face), WORK // 4), after_face.unit, 0.0, 0.15)
    # What is of the face before and after is the photo's, moved: much more must speak for the render there.
    own = torch.minimum(warp(state.skin, flow), inner)
    limits = replace(LIMITS, new=LIMITS.new + OWN * own)
    carried = warp(1 - dilate(1 - before, CONTOUR), flow)
    gone = left * (1 - enlarge(now, 4))
    change = assembled(state, edited, flow, mask, mask, landmarks, onto, limits, gone, torch.minimum(after, carried))
    # Where the moved photo has background and the person comes, only the render knows what is there.
    novel = torch.maximum(change.novel, after * (1 - carried) * mask)
    return replace(change, mask=mask, novel=novel, behind=(1 - after) * mask)


def _left_behind(state: Prepared, edited: Tensor, landmarks: Tensor) -> Tensor:
    """Beside the head, where the renders differ: an ear or hair that the turn takes away, and what comes in their place."""
    faces = (state.face, regions.face_of(landmarks))
    outlines = torch.cat([regions.polygon_distance(regions.oval(face, 1.0), WORK // 4) for face in faces], dim=1)
    beside = enlarge(regions.soft(outlines.amin(dim=1, keepdim=True), state.face.unit, *BESIDE), 4)
    gap = blur(edited - state.matched, 2.0).square().mean(dim=1, keepdim=True).sqrt()
    return beside * smoothstep(blur(dilate(gap, 5), 3.0), *DIFFERENT)


def _angle(flow: Tensor, face: Tensor, unit: Tensor) -> Tensor:
    """How far the face moves, in units: n values."""
    mean = (length(flow) * face).sum(dim=(1, 2, 3)) / face.sum(dim=(1, 2, 3)).clamp_min(1)
    return mean / WORK / unit


def _head(face: regions.Face, angle: Tensor) -> Tensor:
    """Where the head moves: the rim in which it fades out grows with the turn, so that nothing folds."""
    distance = regions.polygon_distance(regions.oval(face, RISE + 4 * angle), WORK // 4)
    return enlarge(regions.soft(distance, face.unit, (0.5 * angle).clamp(max=0.1), (5.5 * angle).clamp(0.25, 1.0)), 4)
