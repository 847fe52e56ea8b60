"""What the ways of composing share: the photo, its inversion, and what was read from both once per photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import blur, dilate, enlarge, filled, warp
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.grain import fine_ratio
from pipelines.stages.compose.occlusion import foreign, lips_seen, uncovered
from pipelines.stages.compose.tone import tint_line
from pipelines.types import Composition

WORK = 256  # px, the side at which motion and mismatch are found
EVEN = 2.0  # px of 256; the registration is smooth
EDGE = 3  # px of 256: hair and contours reach this far beyond the matte
NEAREST = 4.0  # px of 256: registration of render and photo corrects no more than this


Matte = Callable[[Tensor], Tensor]


def everybody(images: Tensor) -> Tensor:
    """The matte where none is known: all is person."""
    return torch.ones_like(images[:, :1])


def nobody(images: Tensor) -> Tensor:
    """The mask of hands where they are not looked for: none."""
    return torch.zeros_like(images[:, :1])


@dataclass(frozen=True)
class Prepared:
    """n photos, ready for any number of edits; what only some edits need is found when one first asks.

    Attributes:
        images, base: n x 3 x R x R in [-1, 1]: the photo and its unedited render.
        photo, render: n x 3 x 256 x 256, both shrunk.
        face: landmarks.
        matte: n x 3 x 256 x 256 -> n x 1 x 256 x 256 in [0, 1]: where the person is.
        hands: the same: where hands are, anybody's.
    """

    images: Tensor
    base: Tensor
    photo: Tensor
    render: Tensor
    face: regions.Face
    matte: Matte
    hands: Matte

    @property
    def factor(self) -> int:
        return self.images.shape[-1] // WORK

    @cached_property
    def skin(self) -> Tensor:
        """n x 1 x 256 x 256: the face up to the hair."""
        return enlarge(regions.face_region(self.face, WORK // 4), 4)

    @cached_property
    def free(self) -> Tensor:
        """n x 1 x 256 x 256, 1 where nothing lies in front of the face, 0 where something does."""
        seen = uncovered(self.photo, self.render, self.skin, self.face) * (1 - foreign(self.photo, self.face))
        return seen * (1 - blur(dilate(self.hands(self.photo), EDGE + 1), 1.5))

    @cached_property
    def mouth(self) -> Tensor:
        """n x 1 x 1 x 1: whether a mouth can be edited: it is seen, and not from the side."""
        return lips_seen(self.photo, self.face) * regions.frontal(self.face)

    @cached_property
    def person(self) -> Tensor:
        """n x 1 x 256 x 256: the photo's matte."""
        return self.matte(self.photo)

    @cached_property
    def beside(self) -> Tensor:
        """n x 1 x 256 x 256: the person and what lies close by."""
        return blur(dilate(self.person, EDGE + 1), 2.5)

    @cached_property
    def plate(self) -> tuple[Tensor, Tensor]:
        """The photo's background, filled in behind the person, n x 3 x 256 x 256, and where it was filled n x 1 x 256 x 256."""
        hidden = blur(dilate(self.person, 2 * EDGE), 2.5)
        return blur(filled(self.photo, 1 - dilate(self.person, 2 * EDGE)), 1.0), hidden

    @cached_property
    def tint(self) -> tuple[Tensor, Tensor, Tensor]:
        """`tone.tint_line` of the photos."""
        return tint_line(self.photo)

    @cached_property
    def grain(self) -> Tensor:
        """n x 3: size of the photo's fine bands over the render's, finest first."""
        return fine_ratio(self.images, self.base)

    @cached_property
    def shift(self) -> Tensor:
        """n x 2 x 256 x 256, flow from the photo to its render: small, where the two do not quite lie on each other."""
        return blur(edit_flow(self.render, self.photo).clamp(-NEAREST, NEAREST), EVEN)

    @cached_property
    def matched(self) -> Tensor:
        """n x 3 x 256 x 256: the render laid onto the photo."""
        return warp(self.render, self.shift)


def prepared(
    images: Tensor, landmarks: Tensor | None, base: Tensor, matte: Matte = everybody, hands: Matte = nobody
) -> Prepared:
    """See `Prepared`; landmarks n x 68 x 2 in shares, NaN or None where there are none."""
    face = regions.face_of(regions.known_landmarks(landmarks, images))
    return Prepared(images, base, resize_area(images, WORK), resize_area(base, WORK), face, matte, hands)


def joined(parts: list[Composition]) -> Composition:
    """Several faces' compositions as one batch."""
    if len(parts) == 1:
        return parts[0]
    landmarks = [part.landmarks for part in parts if part.landmarks is not None]
    image, mask = torch.cat([part.image for part in parts]), torch.cat([part.mask for part in parts])
    return Composition(image, mask, torch.cat(landmarks))


def large(x: Tensor) -> Tensor:
    """Pictures below the working side as squares of pixels (of small test generators); others as they are."""
    times = WORK // x.shape[-1]
    return x.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) if times > 1 else x


def sized(made: Composition, side: int) -> Composition:
    """Undo `large`: one pixel of each square, so that what is the photo's stays so to the last bit."""
    step = made.image.shape[-1] // side
    if step == 1:
        return made
    return Composition(made.image[..., ::step, ::step], made.mask[..., ::step, ::step], made.landmarks)
