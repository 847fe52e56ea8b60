"""*Shape* edits (smile, mouth_open, eyes_open): the photo's own detail follows the motion.

Where the motion explains the edit, the result is the photo moved, plus the edit's change of light in the low band. Where
it does not (teeth, the inside of a mouth, an eye that opens), it is the edited render in the photo's tone and grain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import brows, regions
from pipelines.stages.compose.areas import EYES, NEAR, newly_seen, where, within
from pipelines.stages.compose.filters import (
    blur,
    derivatives,
    dilate,
    enlarge,
    length,
    luma,
    smoothstep,
    warp,
    weighted_blur,
)
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.grain import kept_crisp, with_grain
from pipelines.stages.compose.lips import LipColour, without_yellow
from pipelines.stages.compose.skin import skin_mask
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.stretch import with_own_grain
from pipelines.stages.compose.tone import keep_tint, local_tone, white_kept
from pipelines.stages.compose.window import window_of

EYE_CHROMA = 0.3  # share of its colour that an eye of the render keeps: generators like them blue
# How far the smoothed flow falls short at a mouth's corners: landmarks move 1.1 to 1.14 times as far (0051).
SHORT = 1.12
OUTLINE = 4  # px of 256: the person's outline stays as it is
STIRRED = (0.0, 0.25)  # px of 256: motion that reads the photo between its pixels
CRACKLE = 2.0  # px of 256: finer changes of light are the generator's skin
CHEEKS = 4.0  # px of 256: motion of skin is as even as that
TONE = 8.0  # px of 256
TORN, EVEN = (0.4, 0.8), 4.0  # pixels of motion a pixel, over as many pixels of 256
NARROWER = (0.95, 0.8)  # times its width before


@dataclass(frozen=True)
class Change:
    """How an edit changes n photos, all n x C x 256 x 256, and where it moves landmarks.

    Attributes:
        mask: where it may; flow: (dx, dy) in pixels of 256, already faded out by the mask.
        light: added to the moved photo; novel: share of the render there; tone: added to the render.
        lids: share of the openings that is eyes, whose colour is not the edit's to choose; None: no eyes.
        landmarks: n x 68 x 2, shares, after the edit.
        onto: where the edited render is read, (dx, dy) in pixels of 256, so that it lies on the photo.
        behind: share of the photo's background, of heads that turn.
        teeth: where the inside of a mouth may be; None: no mouth.
        streaked: where the motion draws the photo so wide that its grain must not follow; None: nowhere.
    """

    mask: Tensor
    flow: Tensor
    light: Tensor
    novel: Tensor
    tone: Tensor
    lids: Tensor | None
    landmarks: Tensor
    onto: Tensor
    behind: Tensor | None = None
    teeth: Tensor | None = None
    streaked: Tensor | None = None


def reshape(
    state: Prepared, edited: Tensor, region: str, asked: Tensor | None = None, colour: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Picture n x 3 x R x R, mask n x 1 x 256 x 256 and landmarks of a shape edit; edited n x 3 x R x R.

    Args:
        asked: mask n x 1 x 256 x 256 (`regions.asked_region`) instead of the region's own.
        colour: share of the change in colour that is taken where the photo moves, beside all of that in brightness.
    """
    change = find_change(state, resize_area(edited, WORK), region, asked)
    grey = luma(change.light)
    change = replace(change, light=grey + (change.light - grey) * colour)
    return apply_change(state, edited, change), change.mask, change.landmarks


def find_change(state: Prepared, edited: Tensor, region: str, asked: Tensor | None = None) -> Change:
    """What a shape edit does; edited n x 3 x 256 x 256."""
    edited, found, onto = registered(state, edited)
    if region == "mouth":
        found = _even(state, found * SHORT)
    elif region == "skin":
        found = blur(found, CHEEKS)
    elif region == "brow area":
        found = brows.even(state, found)
    landmarks = regions.moved_landmarks(state.face.points, found)
    if region == "skin":  # wherever it is asked for: irises, teeth, what lies in front and the outline stay
        mask = skin_mask(state, asked) * within_outline(state)
    else:
        mask = (where(state, landmarks, region) if asked is None else asked) * state.free
    if region == "mouth":
        return _mouth(state, edited, found, landmarks, onto, mask)
    openings = newly_seen(state, landmarks, region, found)
    limits = EYE_LIMITS if region in EYES else LIMITS
    change = assembled(state, edited, found * mask, mask, openings, landmarks, onto, limits)
    (lids,) = within(state, landmarks, [regions.RIGHT_EYE, regions.LEFT_EYE], regions.INSIDE)
    if region == "brow area":
        render = 1 - brows.own(state, landmarks)
        change = replace(change, light=change.light * render, novel=change.novel * render)
    return replace(change, lids=lids)


def within_outline(state: Prepared) -> Tensor:
    """n x 1 x 256 x 256: 1 inside the person, 0 from the outline on."""
    return smoothstep(blur(dilate(1 - state.person, OUTLINE), OUTLINE), 0.8, 0.0)


def _mouth(state: Prepared, edited: Tensor, flow: Tensor, landmarks: Tensor, onto: Tensor, mask: Tensor) -> Change:
    """Of a mouth, which must be seen: within the person's outline, lips in the photo's colour."""
    mask = mask * state.mouth * within_outline(state)
    lips, openings = LipColour(state, landmarks), newly_seen(state, landmarks, "mouth", flow)
    like = edited + lips.change(edited)
    flow = flow * mask
    narrower = narrower_mouth(state.face.points, landmarks)
    folded = torn(flow, narrower) * (1 - lips.bodies)
    change = assembled(state, like, flow, mask, torch.maximum(openings, folded), landmarks, onto, MOUTH_LIMITS, folded)
    teeth, between = (
        within(state, landmarks, [shape], regions.INSIDE)[0] for shape in (regions.LIPS, regions.INNER_LIPS)
    )
    between = torch.maximum(between, warp(between, flow))  # wherever the moved photo shows teeth
    novel = torch.maximum(change.novel, between * narrower * mask)
    return replace(change, novel=novel, tone=change.tone + lips.change(edited + change.tone), teeth=teeth)


def _even(state: Prepared, flow: Tensor) -> Tensor:
    """The flow smoothed where cheeks are, whose skin is the generator's crackle; around the lips it stays."""
    lips = regions.polygon_distance(state.face.points[:, list(regions.LIPS)], WORK // 4)
    return torch.lerp(blur(flow, CHEEKS), flow, enlarge(regions.soft(lips, state.face.unit, *NEAR), 4))


def registered(state: Prepared, edited: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The edited render brought onto the photo as its unedited one is: the picture, the flow from it to `state.matched`,
    and where it was read, a flow; edited n x 3 x 256 x 256.

    An inversion seldom lies quite on its photo. What corrects that belongs to the face and goes along with its motion.
    """
    flow = edit_flow(state.render, edited)
    onto = warp(state.shift, flow)
    return warp(edited, onto), warp(flow, onto), onto


@dataclass(frozen=True)
class Limits:
    """How far an edit is believed, in the mismatch that motion leaves ([-1, 1] units, to 1/e).

    Attributes:
        new: a place of the openings counts as new above it; a number, or n x 1 x 256 x 256.
        shade: a change of light is taken over below it (above it, it is a beard or a make-up that the edit dropped).
        still: (px of 256) less motion than the first is none, more than the second is taken as it is.
        drift: (px of 256) wider changes of light are a passenger of the direction, not the edit.
    """

    new: float | Tensor
    shade: float
    still: tuple[float, float]
    drift: float = 24.0


EYE_LIMITS = Limits(new=0.25, shade=0.4, still=(0.2, 0.8))
MOUTH_LIMITS = Limits(new=0.1, shade=0.4, still=(0.2, 0.8), drift=40.0)  # cheeks that a smile lifts catch the light
LIMITS = Limits(new=0.1, shade=0.4, still=(0.2, 0.8))


def assembled(
    state: Prepared,
    edited: Tensor,
    flow: Tensor,
    mask: Tensor,
    openings: Tensor,
    landmarks: Tensor,
    onto: Tensor,
    limits: Limits,
    gone: Tensor | None = None,
    body: Tensor | None = None,
) -> Change:
    """The change from a motion: what of the rest is light, and what is new.

    Args:
        edited, flow, mask, openings: n x C x 256 x 256; openings: where something new may come into view.
        body: where tone is read, n x 1 x 256 x 256; None: in the whole mask.
        gone: where what the photo shows may be gone though its unedited render hardly shows it, n x 1 x 256 x 256.
    """
    flow = flow * smoothstep(length(flow), *limits.still)
    moved, photo = warp(state.matched, flow), warp(state.photo, flow)
    gap = edited - moved
    told = mask if body is None else mask * body
    drift = weighted_blur(gap, told + 1e-3, limits.drift)
    light = gap - drift
    mismatch = blur(light, 1.5).square().mean(dim=1, keepdim=True).sqrt()
    if gone is not None:
        off = edited - photo
        off = blur(off - weighted_blur(off, told + 1e-3, limits.drift), 1.5)
        mismatch = torch.maximum(mismatch, off.square().mean(dim=1, keepdim=True).sqrt() * gone)
    near = blur(dilate(mismatch, 2), 1.5)
    fresh = (1 - torch.exp(-(near / limits.new).square())) * openings * mask
    light = blur(light, CRACKLE) * torch.exp(-(near / limits.shade).square()) * (1 - fresh) * mask
    tone = local_tone(photo, moved, told * torch.exp(-(near / limits.shade).square()), TONE) - drift
    return Change(mask, flow, light, fresh, white_kept(edited, tone), None, landmarks, onto)


def torn(flow: Tensor, narrower: Tensor) -> Tensor:
    """n x 1 x 256 x 256: where a motion n x 2 x 256 x 256 stretches or folds more than skin does.

    Moved folds and teeth would be nobody's there, most of all where a broad smile goes (`narrower`, n x 1 x 1 x 1).
    """
    strain = torch.cat(derivatives(flow), dim=1).square().sum(dim=1, keepdim=True).sqrt()
    return smoothstep(blur(strain, EVEN) * (1 + narrower), *TORN)


def narrower_mouth(before: Tensor, after: Tensor) -> Tensor:
    """n x 1 x 1 x 1, 1 where a mouth loses much of its width; landmarks n x 68 x 2."""
    width = [(points[:, 54] - points[:, 48]).norm(dim=-1) for points in (before, after)]
    return smoothstep(width[1] / width[0].clamp_min(1e-6), *NARROWER).view(-1, 1, 1, 1)


def apply_change(state: Prepared, edited: Tensor, change: Change) -> Tensor:
    """The photos with the change: n x 3 x R x R; exactly the photo where the mask is 0."""
    factor = state.images.shape[-1] // WORK
    window = window_of(change.mask, factor)
    if window.empty:
        return state.images
    moved = warp(state.images, window.grown(change.flow) * factor, window.corner, mode="bicubic")
    result = state.images.clone()
    target, photo = window.cut(result), window.cut(state.images)
    if change.streaked is not None:
        moved = with_own_grain(moved, state.images, change.flow, change.streaked, window)
    carried = window.grown(smoothstep(length(change.flow), *STIRRED) * change.mask * (1 - change.novel))
    moved = kept_crisp(moved, photo, carried)
    target.copy_(moved.add_(window.grown(change.light)))
    _fill_openings(state, edited, change, result)
    if change.behind is not None:
        plate, hidden = state.plate
        ground = torch.lerp(photo, window.grown(plate), window.grown(hidden))
        target.lerp_(ground, window.grown(change.behind))
    made = keep_tint(target, state.tint).clamp(-1, 1)
    target.copy_(torch.where(window.grown(change.mask) > 0, made, photo))
    return result


def _fill_openings(state: Prepared, edited: Tensor, change: Change, result: Tensor) -> None:
    """Put the render, in the photo's tone and grain, where the photo has nothing; in place."""
    factor = state.images.shape[-1] // WORK
    window = window_of(change.novel, factor, margin=4)
    if window.empty:
        return
    render = warp(edited, window.grown(change.onto) * factor, window.corner, mode="bicubic")
    render = with_grain(render, state.grain)
    render = render + window.grown(change.tone)
    if change.teeth is not None:
        render = without_yellow(render, window.grown(change.teeth))
    if change.lids is not None:
        grey = luma(render)
        render = grey + (render - grey) * (1 - (1 - EYE_CHROMA) * window.grown(change.lids))
    target = window.cut(result)
    target.add_(window.grown(change.novel) * (render - target))
