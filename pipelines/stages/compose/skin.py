"""*Skin* edits (age, gender, make-up): the difference that the edit makes is transferred to the photo, which does not move.

The difference of two renders, both brought into the photo's geometry, is added to the photo. Its widest band is left out
(directions of age tan or bleach everyone along; of an attribute that lives in a part of the face, it is what the skin around
changes by), and its finest, where renders differ by their own crackle and not by what the edit means. Irises keep their colour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, luma, smoothstep, warp, weighted_blur
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import keep_tint, whiteness
from pipelines.stages.compose.window import window_of

TONE = 20.0  # px of 256: wider changes are of tone, not of skin
# The same of an attribute that lives in a part of the face: tone is read on the skin around it, which the edit does not mean.
BESIDE, APART = 40.0, 6  # px of 256: as even as that; as far away
ENOUGH = (0.1, 0.4)  # times the part's size: less skin around it says nothing
HAIR = (0.4, 0.7)  # distance from the face's mean colour, [-1, 1] units, rms
PERSON = (0.2, 0.6)  # of the matte: below it is background
TEETH = (0.03, 0.08)  # units around the line between the lips: renders like teeth green
HAIRS, AROUND = (0.0, 0.25), 8.0  # [-1, 1] units: hairs are darker than what lies so many px of 256 around
BARE = 0.4  # share of the change that skin between hairs gets
RATIO = (0.3, 1.8)  # times the own light of a brow or of skin under a beard
READ = 4  # px of 256: the colour of lids and brows is read that far around
AGAINST = (
    0.0,
    0.06,
)  # [-1, 1] units: less of a beard's darkness than the first is none, more than the second all of it
FINE = 512  # px: the difference is read at this side, no finer
CRACKLE = 0.7  # px of 512: finer than this is noise


def skin_mask(state: Prepared, asked: Tensor | None = None) -> Tensor:
    """n x 1 x 256 x 256: the face's skin, without irises, teeth, hair or hat on the forehead, and what lies in front.

    Args:
        asked: mask n x 1 x 256 x 256 (`regions.asked_region`) instead of the skin; irises, teeth and what lies in front stay.
    """
    stays = enlarge(regions.irises(state.face, WORK // 2), 2)
    line = regions.polygon_distance(state.face.points[:, list(regions.INNER_LIPS)], WORK // 2)
    stays = torch.maximum(stays, enlarge(regions.soft(line, state.face.unit, *TEETH), 2))
    skin = state.skin * _bare_forehead(state) if asked is None else asked
    return skin * (1 - stays) * state.free * smoothstep(state.person, *PERSON)


def _bare_forehead(state: Prepared) -> Tensor:
    """0 above the brows where the photo's colour is far from the face's: 1 everywhere else (beards are the edit's)."""
    above = enlarge(regions.above_brows(state.face, WORK // 4), 4)
    weight = state.skin * (1 - above)
    mean = (state.photo * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    far = (state.photo - mean).square().mean(dim=1, keepdim=True).sqrt()
    covered = blur(dilate(smoothstep(far, *HAIR), 2), 2.0)
    return 1 - covered * above


def transfer(
    state: Prepared,
    edited: Tensor,
    asked: Tensor | None = None,
    colour: float = 1.0,
    part: bool = False,
    one_way: bool = False,
) -> tuple[Tensor, Tensor]:
    """The photos with the edit's difference: n x 3 x R x R, and the mask n x 1 x 256 x 256; edited n x 3 x R x R.

    Args:
        colour: share of the difference in colour that is taken, beside all of that in brightness.
        part: the edit means this part of the face, all of it, and nothing around.
        one_way: it only darkens, or only lightens, in the photo's own hues: what goes the other way is lips or folds that moved
            along in the render.
    """
    mask = skin_mask(state, asked)
    gap = _difference(state, edited)
    scale = gap.shape[-1] // WORK
    small = resize_area(gap, WORK)
    wide = _tone_beside(state, small, mask) if part else weighted_blur(small, mask + 1e-3, TONE)
    gap = gap - enlarge(wide, scale)
    # A soft photo gets soft wrinkles.
    coarse = blur(gap, 2.0)
    gap = coarse + (gap - coarse) * state.grain[:, 2].view(-1, 1, 1, 1)
    grey = luma(gap)
    if one_way:
        gap = _shaded(state, grey, (luma(small - wide) * mask).sum(dim=(2, 3), keepdim=True).sign())
    else:
        gap = grey + (gap - grey) * colour
    return _added(state, gap * enlarge(mask, scale), mask), mask


def _shaded(state: Prepared, grey: Tensor, sign: Tensor) -> Tensor:
    """A change of light n x 1 x S x S in the photo's own hues, where it has the `sign` of the whole: n x 3 x S x S."""
    grey = grey * smoothstep(blur(grey, 2.0) * sign, *AGAINST)
    own = 1 + resize_area(state.images, grey.shape[-1])
    return own * (grey / luma(own).clamp_min(0.1)).clamp(RATIO[0] - 1, RATIO[1] - 1)


PAINTED = {"lips": regions.mouth_region, "lids": regions.eyes_region, "brows": regions.eyes_region}
"""What is painted -> what its skin lies around."""


def paint(state: Prepared, edited: Tensor, region: str) -> tuple[Tensor, Tensor]:
    """The photos with lips, lids or brows that changed their colour as the render's did: n x 3 x R x R, and the mask;
    edited n x 3 x R x R.

    A render's lips seldom lie quite on the photo's: so one colour is read around, where it changed most, and laid on what the
    landmarks say, whose own light and texture stay.
    """
    around = skin_mask(state, enlarge(PAINTED[region](state.face, WORK // 4), 4))
    small = resize_area(_difference(state, edited), WORK)
    small = small - _tone_beside(state, small, around)
    strong = small - luma(small) if region == "lips" else small
    near = enlarge(regions.NAMED[region](state.face, WORK // 2), 2)
    weight = strong.square().sum(dim=1, keepdim=True) * around * (1 if region == "lips" else dilate(near, READ))
    colour = (small * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    if region == "lips":  # teeth, where landmarks fall short of them
        line = regions.polygon_distance(state.face.points[:, list(regions.INNER_LIPS)], WORK // 2)
        near = near * (1 - whiteness(state.photo) * enlarge(regions.soft(line, state.face.unit, *TEETH), 2))
    mask = near * state.free * smoothstep(state.person, *PERSON)
    return _added(state, (_darker_hairs(state, near, colour) if region == "brows" else colour) * mask, mask), mask


def _darker_hairs(state: Prepared, brows: Tensor, colour: Tensor) -> Tensor:
    """The change of brows by a colour n x 3 x 1 x 1: hairs more than the skin between them, each in its own hue."""
    photo = state.photo
    mean = (luma(photo) * brows).sum(dim=(2, 3), keepdim=True) / brows.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    ratio = (1 + luma(colour) / (1 + mean).clamp_min(0.1)).clamp(*RATIO)
    hair = smoothstep(weighted_blur(luma(photo), state.skin + 1e-3, AROUND) - luma(photo), *HAIRS)
    return (1 + photo) * (ratio - 1) * (BARE + (1 - BARE) * hair)


def _difference(state: Prepared, edited: Tensor) -> Tensor:
    """Edited less unedited render, both laid onto the photo: n x 3 x S x S, S no more than `FINE`."""
    size = min(FINE, edited.shape[-1])
    before, after = resize_area(state.base, size), resize_area(edited, size)
    scale = size // WORK
    back = edit_flow(resize_area(edited, WORK), state.render)
    gap = warp(after, enlarge(back, scale) * scale) - before
    return blur(warp(gap, enlarge(state.shift, scale) * scale), CRACKLE)


def _tone_beside(state: Prepared, gap: Tensor, mask: Tensor) -> Tensor:
    """What the skin around a part of the face changes by, n x 3 x 256 x 256; where none is seen, the part itself."""
    around = skin_mask(state) * (1 - blur(dilate(mask, APART), 2.0))
    share = around.sum(dim=(2, 3), keepdim=True) / mask.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return weighted_blur(gap, torch.lerp(mask, around, smoothstep(share, *ENOUGH)) + 1e-4, BESIDE)


def _added(state: Prepared, gap: Tensor, mask: Tensor) -> Tensor:
    factor = state.images.shape[-1] // WORK
    window = window_of(mask, factor)
    if window.empty:
        return state.images
    result = state.images.clone()
    target = window.cut(result)
    fine = window.scaled(gap.shape[-1] // WORK)
    made = keep_tint(target + fine.grown(gap), state.tint).clamp(-1, 1)
    target.copy_(made.where(window.grown(mask) > 0, target))
    return result
