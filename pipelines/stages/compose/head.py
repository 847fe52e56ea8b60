"""*Head* edits (yaw, pitch): the photo's head turns before a background that stands still.

The head is moved by the motion between the two renders, and the motion fades out in a rim around it. What comes into view (an
ear, the far cheek, background behind hair that went) is the render's, in the photo's tone and grain: wherever the motion
does not explain the edit, and wherever the photo still shows what the edited render does not, so that no second contour of
cheek, ear or hair is left behind.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import (
    blur,
    dilate,
    enlarge,
    length,
    pixel_grid,
    reached,
    smoothstep,
    warp,
    weighted_blur,
)
from pipelines.stages.compose.shape import Change, Limits, apply_change, assembled, registered
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.stretch import stretched

RISE = 0.5  # units from the brows to where the motion ends, for the least turn
SOLID, RIM = (0.25, 0.0, 0.05), (5.1, 0.25, 1.0)  # times the mean motion, from, to: units
LEADING = 0.4  # share of the rim that the side which the head turns to gives to the other
RIGID = 4.0  # px of 256; a head turns as one: its motion is smooth, and what the face does counts most
BESIDE = (0.35, 0.9)  # units around the outline in which hair and ears are
FAR = (0.08, 0.1)  # units of mean motion: yaw 0.5 is about .06, yaw 1 .083 to .145; below, a turn fits into its rim
MANE = 2.0  # units around the outline: hair that far moves along with a wide turn
DIFFERENT = (0.12, 0.3)  # rms of edited - unedited render, [-1, 1] units
OWN = 0.2  # more of it, where the face is before and after
SURE = (0.6, 1.0)  # share of a face drawn from landmarks: the person, whatever a matte says
CONTOUR = 4  # px of 256: this wide, the photo's own contour is not carried along
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
    if asked is None:
        sides = _side(state.face, found, face)
        head = torch.maximum(_head(state.face, angle, sides), _head(after_face, angle, sides))
    else:
        head = asked
    flow = weighted_blur(found, face + 0.05, RIGID) * head
    # A small turn only bends what lies around the face; a wide one uncovers it.
    far = smoothstep(angle, *FAR).view(-1, 1, 1, 1)
    left = _left_behind(state, edited, landmarks) * far
    before = _of_face(state.person, state.skin)
    # The soft rim of a face drawn from landmarks is the render's background where its matte says so.
    after = torch.maximum(_of_face(state.matte(edited), inner), smoothstep(inner, *SURE))
    tufts = regions.hair_region(state.face, WORK, MANE) * (before - after).clamp_min(0) * far
    mask = torch.maximum(torch.maximum(head, left), tufts) if asked is None else asked
    anybody = torch.maximum(torch.lerp(state.beside, state.plate[1], far), blur(dilate(after, 2), 1.0))
    mask = mask * anybody
    now = regions.soft(regions.polygon_distance(regions.oval(after_face), WORK // 4), after_face.unit, 0.0, 0.15)
    # What is of the face before and after is the photo's, moved: much more must speak for the render there.
    own = torch.minimum(warp(state.skin, flow), inner)
    limits = replace(LIMITS, new=LIMITS.new + OWN * own)
    carried = warp(1 - dilate(1 - before, CONTOUR), flow)
    gone = left * (1 - enlarge(now, 4))
    shown = mask * torch.maximum(far, torch.minimum(state.skin, inner))
    change = assembled(state, edited, flow, mask, shown, landmarks, onto, limits, gone, torch.minimum(after, carried))
    # Where the moved photo has background and the person comes, only the render knows what is there.
    novel = torch.maximum(change.novel, after * (1 - carried) * mask * far)
    return replace(
        change,
        mask=mask,
        novel=novel,
        behind=(1 - after) * mask * far,
        streaked=stretched(change.flow) * torch.maximum(warp(state.skin, flow), inner),
    )


def _of_face(matte: Tensor, face: Tensor) -> Tensor:
    """The person whose face it is: what of a matte hangs together with it; others, and islands in the background, are not."""
    near = reached(F.avg_pool2d(face, 4), F.avg_pool2d(matte, 4), 2, WORK // 8)
    return matte * smoothstep(enlarge(dilate(near, 1), 4), 0.2, 0.6)


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


def _side(face: regions.Face, flow: Tensor, weight: Tensor) -> Tensor:
    """n x 1 x 64 x 64 from -1, on the side that the head turns away from, to 1, on that which it turns to."""
    move = -(flow * weight).sum(dim=(2, 3), keepdim=True)
    move = move / move.norm(dim=1, keepdim=True).clamp_min(1e-6)
    side = WORK // 4
    out = (pixel_grid(side, side, flow) + 0.5) / side - face.points[:, 30].view(-1, 2, 1, 1)
    cosine: Tensor = (out * move).sum(dim=1, keepdim=True) / out.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return cosine


def _head(face: regions.Face, angle: Tensor, sides: Tensor) -> Tensor:
    """Where the head moves: the rim in which it fades out grows with the turn, so that nothing folds. It fades evenly, and more
    slowly on the side where that draws an ear wider than on the other, where it hides one."""
    distance = regions.polygon_distance(regions.oval(face, RISE + 4 * angle), WORK // 4) / face.unit.view(-1, 1, 1, 1)
    solid, rim = ((share * angle).clamp(low, high).view(-1, 1, 1, 1) for share, low, high in (SOLID, RIM))
    return enlarge(1 - ((distance - solid) / (rim * (1 - LEADING * sides))).clamp(0, 1), 4)
