"""Colours of a mouth that an edit brings: lips in the photo's own colour, teeth without the generator's yellow.

Directions of expression carry make-up along (a wide smile comes with pink lips), on dark skin most visibly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import enlarge, luma, smoothstep
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import whiteness

RIM, AROUND = (0.06, 0.12), (0.2, 0.4)  # units around the lips: theirs, where landmarks fall short; skin close by
LIKE = (0.2, 0.7)  # between the colours of skin and of lips: below it is skin, above it are lips
YELLOW = 0.4  # share of a tooth's yellow that is taken away
BRIGHT = (-0.3, 0.1)  # luma, [-1, 1] units: below a mouth's dark, above a tooth


class LipColour:
    """The photo's colour of lips, for renders of one edit.

    Args:
        landmarks: n x 68 x 2, shares, after the edit; they follow the motion, so skin is told from lips by its colour, too.

    Attributes:
        bodies: n x 1 x 256 x 256: upper and lower lip after the edit.
    """

    def __init__(self, state: Prepared, landmarks: Tensor) -> None:
        after = regions.face_of(landmarks)
        self._own = _mean(state.photo, _lips(state.face) * (1 - whiteness(state.photo)))
        self.bodies = _lips(after)
        outline = regions.polygon_distance(after.points[:, list(regions.LIPS)], WORK // 2)
        self._near, around = (enlarge(regions.soft(outline, after.unit, *reach), 2) for reach in (RIM, AROUND))
        self._beside = around * (1 - self._near)

    def change(self, picture: Tensor) -> Tensor:
        """What to add to an edited render n x 3 x 256 x 256, so that its lips have the photo's mean colour, and keep their
        own brightness: lips that are drawn wide are brighter than closed ones, and dark rims beside teeth look painted."""
        coloured = 1 - whiteness(picture)
        red, skin = _mean(picture, self.bodies * coloured), _mean(picture, self._beside)
        axis, shade = red - skin, picture - skin
        axis, shade = axis - luma(axis), shade - luma(shade)
        share = (axis * shade).sum(dim=1, keepdim=True) / axis.square().sum(dim=1, keepdim=True).clamp_min(1e-4)
        colour = self._own - red
        return (colour - luma(colour)) * self._near * smoothstep(share, *LIKE) * coloured


def _lips(face: regions.Face) -> Tensor:
    """n x 1 x 256 x 256: upper and lower lip."""
    return enlarge(regions.lip_bodies(face, WORK // 2), 2)


def _mean(picture: Tensor, weight: Tensor) -> Tensor:
    """n x 3 x 1 x 1."""
    return (picture * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)


def own_colours(state: Prepared, edited: Tensor, small: Tensor, landmarks: Tensor) -> Tensor:
    """Renders with the colour of the photo's lips, but their own brightness, and teeth without yellow: n x 3 x R x R.

    Args:
        edited: n x 3 x R x R. small: the same, n x 3 x 256 x 256. landmarks: n x 68 x 2 after the edit, shares.
    """
    made = edited + enlarge(LipColour(state, landmarks).change(small), state.factor)
    return without_yellow(made, enlarge(between_lips(landmarks), state.factor))


def between_lips(landmarks: Tensor) -> Tensor:
    """n x 1 x 256 x 256: the inside of a mouth."""
    face = regions.face_of(landmarks)
    opening = regions.polygon_distance(landmarks[:, list(regions.INNER_LIPS)], WORK // 2)
    return enlarge(regions.soft(opening, face.unit, *regions.INSIDE), 2)


def without_yellow(picture: Tensor, mouth: Tensor) -> Tensor:
    """The yellow of bright pixels n x 3 x H x W taken back where `mouth` n x 1 x H x W is 1; lips, which are red, have none."""
    red, green, blue = picture.split(1, dim=1)
    yellow = (torch.minimum(red, green) - blue).clamp_min(0)
    lift = YELLOW * yellow * smoothstep(luma(picture), *BRIGHT) * mouth
    return torch.cat((red, green, blue + lift), dim=1)
