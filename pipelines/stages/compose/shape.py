"""*Shape* edits (smile, mouth_open, eyes_open): the photo's own detail follows the motion.

Where the motion explains the edit, the result is the photo moved, plus the edit's change of light in the low band. Where
it does not (teeth, the inside of a mouth, an eye that opens), it is the edited render in the photo's tone and grain.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, warp, weighted_blur
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.grain import with_grain
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import keep_tint, local_tone
from pipelines.stages.compose.window import window_of

NEW = 0.10  # mismatch at which a place inside the mouth or eyes counts as new to 1 - 1/e, [-1, 1] units
SHADE = 0.22  # mismatch at which a change of light outside them is no longer believed (a beard that the edit dropped)
DRIFT = 20.0  # px of 256: wider changes of light are a passenger of the direction, not the edit
TONE = 8.0  # px of 256


@dataclass(frozen=True)
class Change:
    """How an edit changes n photos, all n x C x 256 x 256.

    Attributes:
        mask: where it may; flow: (dx, dy) in pixels of 256, already faded out by the mask.
        light: added to the moved photo; novel: share of the render there; tone: added to the render.
    """

    mask: Tensor
    flow: Tensor
    light: Tensor
    novel: Tensor
    tone: Tensor


def find_change(state: Prepared, edited: Tensor, region: str) -> Change:
    """What a shape edit does; edited n x 3 x 256 x 256."""
    flow = edit_flow(state.render, edited)
    mask = _where(state, flow, region) * state.free
    if region == "mouth":
        mask = mask * state.mouth
    flow = flow * mask
    moved, photo = warp(state.render, flow), warp(state.photo, flow)
    gap = edited - moved
    drift = weighted_blur(gap, mask, DRIFT)
    light = gap - drift
    mismatch = blur(light, 1.5).square().mean(dim=1, keepdim=True).sqrt()
    near = blur(dilate(mismatch, 2), 1.5)
    fresh = (1 - torch.exp(-(near / NEW).square())) * _openings(state, flow, region) * mask
    light = light * torch.exp(-(near / SHADE).square()) * (1 - fresh) * mask
    tone = local_tone(photo, moved, mask * torch.exp(-(near / NEW).square()), TONE) - drift
    return Change(mask, flow, light, fresh, tone)


def _openings(state: Prepared, flow: Tensor, region: str) -> Tensor:
    """Where an edit may bring what the photo does not have: within lips or lids, before and after."""
    shapes = [regions.LIPS] if region != "eyes" else [regions.RIGHT_EYE, regions.LEFT_EYE]
    after = regions.moved_landmarks(state.face.points, flow)
    lines = [points[:, list(shape)] for points in (state.face.points, after) for shape in shapes]
    distance = torch.stack([regions.polygon_distance(line, WORK // 2) for line in lines]).amin(dim=0)
    return enlarge(regions.soft(distance, state.face.unit, 0.04, 0.14), 2)


def _where(state: Prepared, flow: Tensor, region: str) -> Tensor:
    draw = {"mouth": regions.mouth_region, "eyes": regions.eyes_region, "face": regions.face_region}[region]
    after = regions.face_of(regions.moved_landmarks(state.face.points, flow))
    return enlarge(torch.maximum(draw(state.face, WORK // 4), draw(after, WORK // 4)), 4)


def apply_change(state: Prepared, edited: Tensor, change: Change) -> Tensor:
    """The photos with the change: n x 3 x R x R; exactly the photo where the mask is 0."""
    factor = state.images.shape[-1] // WORK
    window = window_of(change.mask, factor)
    if window.empty:
        return state.images
    moved = warp(state.images, window.grown(change.flow) * factor, window.corner, mode="bicubic")
    made = moved + window.grown(change.light)
    result = state.images.clone()
    target = window.cut(result)
    target.copy_(torch.where(window.grown(change.mask) > 0, made, target))
    _fill_openings(state, edited, change, result)
    made = keep_tint(target, state.tint).clamp(-1, 1)
    target.copy_(torch.where(window.grown(change.mask) > 0, made, target))
    return result


def _fill_openings(state: Prepared, edited: Tensor, change: Change, result: Tensor) -> None:
    """Put the render, in the photo's tone and grain, where the photo has nothing; in place."""
    window = window_of(change.novel, state.images.shape[-1] // WORK, margin=4)
    if window.empty:
        return
    render = with_grain(window.cut(edited), state.grain) + window.grown(change.tone)
    target = window.cut(result)
    target.add_(window.grown(change.novel) * (render - target))
