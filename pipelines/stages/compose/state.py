"""What the ways of composing share: the photo, its inversion, and what was read from both once per photo."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pipelines.stages.compose.regions import Face

WORK = 256  # px, the side at which motion and mismatch are found


@dataclass(frozen=True)
class Prepared:
    """n photos, ready for any number of edits.

    Attributes:
        images, base: n x 3 x R x R in [-1, 1]: the photo and its unedited render.
        photo, render: n x 3 x 256 x 256, both shrunk.
        face: landmarks.
        free: n x 1 x 256 x 256, 1 where nothing lies in front of the face, 0 where something does.
        mouth: n x 1 x 1 x 1, whether a mouth is seen at all (a mask may hide it).
        tint: `tone.tint_line` of the photos.
        grain: n x 3: energy of the photo's fine bands over the render's, finest first (`grain.fine_ratio`).
        shift: n x 2 x 256 x 256, flow from the photo to its render (`skin.registration`).
    """

    images: Tensor
    base: Tensor
    photo: Tensor
    render: Tensor
    face: Face
    free: Tensor
    mouth: Tensor
    tint: tuple[Tensor, Tensor, Tensor]
    grain: Tensor
    shift: Tensor
