"""*Skin* edits (age, gender, make-up): the difference that the edit makes is transferred to the photo, which does not move.

The difference of two renders, both brought into the photo's geometry, is added to the photo. Its widest band is left out
(directions of age tan or bleach everyone along), and its finest, where renders differ by their own crackle and not by what
the edit means. Irises keep their colour.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, luma, smoothstep, warp, weighted_blur
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import keep_tint
from pipelines.stages.compose.window import window_of

TONE = 20.0  # px of 256: wider changes are of tone, not of skin
HAIR = (0.4, 0.7)  # distance from the face's mean colour, [-1, 1] units, rms
PERSON = (0.2, 0.6)  # of the matte: below it is background
TEETH = (0.03, 0.08)  # units around the line between the lips: renders like teeth green
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
    state: Prepared, edited: Tensor, asked: Tensor | None = None, colour: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The photos with the edit's difference: n x 3 x R x R, and the mask n x 1 x 256 x 256; edited n x 3 x R x R.

    Args:
        colour: share of the difference in colour that is taken, beside all of that in brightness.
    """
    mask = skin_mask(state, asked)
    size = min(FINE, edited.shape[-1])
    before, after = resize_area(state.base, size), resize_area(edited, size)
    scale = size // WORK
    back = edit_flow(resize_area(edited, WORK), state.render)
    gap = warp(after, enlarge(back, scale) * scale) - before
    gap = warp(gap, enlarge(state.shift, scale) * scale)
    gap = blur(gap, CRACKLE)
    wide = weighted_blur(resize_area(gap, WORK), mask + 1e-3, TONE)
    gap = gap - enlarge(wide, scale)
    # A soft photo gets soft wrinkles.
    coarse = blur(gap, 2.0)
    gap = coarse + (gap - coarse) * state.grain[:, 2].view(-1, 1, 1, 1)
    grey = luma(gap)
    gap = grey + (gap - grey) * colour
    return _added(state, gap * enlarge(mask, scale), mask), mask


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
