"""*Head* edits (yaw, pitch): the photo's head turns before a background that stands still.

The head is moved by the motion between the two renders, and the motion fades out in a rim around it: background that the
head uncovers is filled by what lies beside it, drawn wider, so that no second contour of cheek or hair is left behind. What
comes into view (an ear, the far cheek) is the render's, in the photo's tone and grain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, smoothstep, warp, weighted_blur
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.shape import Change
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import local_tone

RISE = 0.6  # units from the brows to where the motion ends, for the least turn
RIGID = 4.0  # px of 256; a head turns as one: its motion is smooth, and what the face does counts most
STILL = (0.15, 0.5)  # px of 256: less motion is none, so that what stands still stays sharp
NEW, SHADE = 0.3, 0.25  # as in `shape`
DRIFT, TONE = 20.0, 8.0


def find_turn(state: Prepared, edited: Tensor) -> Change:
    """What a head edit does; edited n x 3 x 256 x 256."""
    found = edit_flow(state.render, edited)
    after = regions.face_of(regions.moved_landmarks(state.face.points, found))
    face = torch.maximum(regions.face_region(state.face, WORK // 4), regions.face_region(after, WORK // 4))
    face = enlarge(face, 4)
    turn = _turn(found, face, state.face.unit)
    head = torch.maximum(_head(state.face, turn), _head(after, turn))
    flow = weighted_blur(found, face + 0.05, RIGID) * head
    flow = flow * smoothstep(flow.norm(dim=1, keepdim=True), *STILL)
    moved, photo = warp(state.render, flow), warp(state.photo, flow)
    gap = edited - moved
    drift = weighted_blur(gap, face + 1e-3, DRIFT)
    light = gap - drift
    near = blur(dilate(blur(light, 1.5).square().mean(dim=1, keepdim=True).sqrt(), 2), 1.5)
    fresh = (1 - torch.exp(-(near / NEW).square())) * face
    light = light * torch.exp(-(near / SHADE).square()) * (1 - fresh) * face
    tone = local_tone(photo, moved, face * torch.exp(-(near / SHADE).square()), TONE) - drift
    return Change(head, flow, light, fresh, tone)


def _turn(flow: Tensor, face: Tensor, unit: Tensor) -> Tensor:
    """How far the face moves, in units: n values."""
    size = (flow.norm(dim=1, keepdim=True) * face).sum(dim=(1, 2, 3)) / face.sum(dim=(1, 2, 3)).clamp_min(1)
    return size / WORK / unit


def _head(face: regions.Face, turn: Tensor) -> Tensor:
    distance = regions.polygon_distance(regions.oval(face, RISE + 4.5 * turn), WORK // 4)
    return enlarge(regions.soft(distance, face.unit, turn.clamp(max=0.15), (7 * turn).clamp(0.3, 1.0)), 4)
