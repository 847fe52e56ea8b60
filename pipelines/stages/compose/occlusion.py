"""What lies in front of a face: there the photo is kept.

The inversion can only draw faces. Where something else covers one (a hand, a microphone, a surgical mask), photo and
render disagree after their tones are matched, or the lips that landmarks promise are not to be seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compose.filters import blur, dilate, smoothstep, weighted_blur
from pipelines.stages.compose.regions import Face

DISAGREE = (0.3, 0.45)  # rms over the colours, [-1, 1] units: kept below the first, covered above the second
TONE = 24.0  # px of 256
LIP_CONTRAST = (0.035, 0.06)  # rms of the colour profile across the mouth; set on one masked photo, not calibrated
REACH, STEPS = 0.3, 17  # units above and below the mouth's line; samples of the profile


def uncovered(photo: Tensor, render: Tensor, skin: Tensor) -> Tensor:
    """1 where the face is seen, 0 where something covers it: n x 1 x 256 x 256, with soft borders.

    Args:
        photo, render: n x 3 x 256 x 256. skin: n x 1 x 256 x 256, the face's region.
    """
    gap = photo - render
    gap = gap - weighted_blur(gap, skin + 1e-3, TONE)
    size = blur(gap, 2.0).square().mean(dim=1, keepdim=True).sqrt()
    return 1 - blur(dilate(smoothstep(size, *DISAGREE), 3), 2.0)


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
