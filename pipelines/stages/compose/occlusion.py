"""What lies in front of a face: there the photo is kept.

The inversion can only draw faces. Where something else covers one (a hand, a microphone, a surgical mask), photo and
render disagree after their tones are matched, or the lips that landmarks promise are not to be seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, luma, pixel_grid, reached, smoothstep, weighted_blur
from pipelines.stages.compose.regions import Face

DISAGREE = (0.3, 0.45)  # rms over the colours, [-1, 1] units: kept below the first, covered above the second
TONE = 24.0  # px of 256
# rms of the colour profile across the mouth: .015 under a mask, .037 to .5 on 1,650 faces.
LIP_CONTRAST = (0.025, 0.036)
LIGHT, HUE = (0.1, 0.2), (0.025, 0.06)  # beyond two deviations of the face's skin: brightness [0, 1], share of colour
UNPAIRED = (0.2, 0.35)  # rms over the colours, [-1, 1] units
SIDE = 128
NOSTRILS = range(31, 36)
WITHIN = (-0.17, 0.05)  # units from the face's outline
SPECK, ENOUGH = 2.0, (0.35, 0.6)  # px of 128: smaller spots are no seeds; mean over such a spot
GROWTH = 16
REACH, STEPS = 0.3, 17  # units above and below the mouth's line; samples of the profile


def uncovered(photo: Tensor, render: Tensor, skin: Tensor, face: Face) -> Tensor:
    """1 where the face is seen, 0 where something covers it: n x 1 x 256 x 256, with soft borders.

    A few pixels between the lips are teeth that the inversion has elsewhere.

    Args:
        photo, render: n x 3 x 256 x 256. skin: n x 1 x 256 x 256, the face's region.
    """
    gap = photo - render
    gap = gap - weighted_blur(gap, skin + 1e-3, TONE)
    size = blur(gap, 2.0).square().mean(dim=1, keepdim=True).sqrt()
    spots = smoothstep(size, *DISAGREE)
    lips = enlarge(regions.soft(_distance(face.points[:, list(regions.LIPS)]), face.unit, 0.05, 0.05), 2)
    spots = spots * (1 - lips * (1 - smoothstep(blur(spots, 2 * SPECK), *ENOUGH)))
    return 1 - blur(dilate(spots, 3), 2.0)


def foreign(photo: Tensor, face: Face) -> Tensor:
    """1 where the photo shows what is no part of this face, 0 where it may be: n x 1 x 256 x 256, with soft borders.

    What an inversion draws along (a hand, a microphone) cannot be told from |photo - render|. So: colours unlike this
    face's own skin, connected to a seed that no beard or shadow makes: bright or coloured and without a counterpart on
    the face's other half, or of no lip's colour where a lip should be.
    """
    small = F.avg_pool2d(photo, 2)
    light, hue, dark, redder = _unlike_skin(small, face)
    bright = torch.maximum(light, hue)
    outline = _distance(regions.oval(face))
    inside = regions.soft(_distance(face.points[:, list(regions.LIPS)]), face.unit, 0.05, 0.05)
    on_lips = regions.lip_bodies(face, SIDE) * torch.maximum(bright * (1 - redder), dark)
    # Seeds lie well within the face: beside the jaw and at the temples are hair, collar and background.
    alone = bright * _unpaired(small, face) * regions.soft(outline, face.unit, *WITHIN) * (1 - inside)
    eyes = enlarge(regions.eyes_region(face, SIDE // 2), 2)  # unlike skin, and seldom both alike; so are nostrils
    nostrils = regions.soft(_distance(face.points[:, list(NOSTRILS)]), face.unit, 0.08, 0.05)
    alone = alone * (1 - eyes) * (1 - nostrils)
    seed = smoothstep(blur(torch.maximum(alone, on_lips), SPECK), *ENOUGH)
    odd = torch.maximum(bright, dark) * (1 - inside * redder)
    room = torch.maximum(blur(odd, 0.7) * regions.soft(outline, face.unit, 0.0, 0.08) * (1 - eyes), seed)
    seed = reached(seed, room, 3, GROWTH)
    return enlarge(blur(dilate(smoothstep(seed, 0.1, 0.4), 3), 1.0), 2)


def _distance(points: Tensor) -> Tensor:
    return enlarge(regions.polygon_distance(points, SIDE // 2), 2)


def _unlike_skin(photo: Tensor, face: Face) -> tuple[Tensor, ...]:
    """How far colours are too light, of another hue, or too dark for this face's skin; and redder: each n x 1 x H x W."""
    rgb = (photo + 1) / 2
    bright = luma(rgb)
    total = rgb.sum(dim=1, keepdim=True) + 0.3
    hues = torch.cat((rgb[:, :1] - rgb[:, 1:2], rgb[:, 2:] - rgb[:, 1:2]), dim=1) / total
    colours = torch.cat((bright, hues), dim=1)
    weight = regions.bare_skin(face, photo.shape[-1])
    for _ in range(3):  # reweighted: what covers a part of the cheeks has no say
        mean, spread = _moments(colours, weight)
        off = ((colours - mean) / (spread + 0.02)).square().sum(dim=1, keepdim=True)
        weight = regions.bare_skin(face, photo.shape[-1]) * torch.exp(-off / 8)
    mean, spread = _moments(colours, weight)
    step = bright - mean[:, :1]
    light = smoothstep(step - 2 * spread[:, :1], *LIGHT)
    away = ((hues - mean[:, 1:]).abs() - 2 * spread[:, 1:]).clamp_min(0).square().sum(dim=1, keepdim=True).sqrt()
    redder = smoothstep(hues[:, :1] - mean[:, 1:2], 0.01, 0.04)
    dark = smoothstep(bright / mean[:, :1].clamp_min(0.05), 0.45, 0.25)
    return light, smoothstep(away, *HUE), dark, redder


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    count = weight.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    mean = (x * weight).sum(dim=(2, 3), keepdim=True) / count
    return mean, ((x - mean).square() * weight).sum(dim=(2, 3), keepdim=True).div(count).sqrt()


def _unpaired(photo: Tensor, face: Face) -> Tensor:
    """Where the face's other half has another colour: n x 1 x H x W; nothing where a face is turned."""
    side = photo.shape[-1]
    place = (pixel_grid(side, side, photo) + 0.5) / side
    top, chin = face.points[:, 27, :, None, None], face.points[:, 8, :, None, None]
    along = (chin - top) / (chin - top).norm(dim=1, keepdim=True).clamp_min(1e-6)
    across = torch.stack((-along[:, 1], along[:, 0]), dim=1)
    mirrored = place - 2 * ((place - top) * across).sum(dim=1, keepdim=True) * across
    soft = blur(photo, 2.5)
    other = F.grid_sample(soft, mirrored.permute(0, 2, 3, 1) * 2 - 1, padding_mode="border", align_corners=False)
    gap = (soft - other).square().mean(dim=1, keepdim=True).sqrt()
    return smoothstep(gap, *UNPAIRED) * smoothstep(regions.lean(face), 0.5, 0.3)


def lips_seen(photo: Tensor, face: Face) -> Tensor:
    """Whether a mouth is seen where the landmarks have one: n x 1 x 1 x 1, 0 under a mask.

    The colours' mean profile across the mouth, along the line between the lips: lips and teeth make it uneven, cloth and its
    folds do not.
    """
    line, across = _mouth_line(face)
    steps = torch.linspace(-REACH, REACH, STEPS, device=photo.device, dtype=photo.dtype)
    places = line[:, None] + across[:, None] * (steps * face.unit[:, None])[:, :, None, None]  # n x steps x points x 2
    profile = F.grid_sample(photo, places * 2 - 1, padding_mode="border", align_corners=False).mean(dim=3)
    slope = steps / steps.square().sum()
    profile = profile - profile.mean(dim=2, keepdim=True)
    profile = profile - (profile * slope).sum(dim=2, keepdim=True) * steps
    contrast = profile.square().mean(dim=(1, 2)).sqrt()
    return smoothstep(contrast, *LIP_CONTRAST).view(-1, 1, 1, 1)


def _mouth_line(face: Face) -> tuple[Tensor, Tensor]:
    """Nine points n x 9 x 2 along the opening between the lips, and the direction across it n x 1 x 2."""
    p = face.points
    middle = (p[:, 61:64] + p[:, [67, 66, 65]]) / 2
    ends = p[:, 60:61], p[:, 64:65]
    knots = torch.cat((ends[0], middle, ends[1]), dim=1)
    line = torch.cat((knots, (knots[:, 1:] + knots[:, :-1]) / 2), dim=1)
    along = ends[1] - ends[0]
    along = along / along.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return line, torch.stack((-along[..., 1], along[..., 0]), dim=-1)
