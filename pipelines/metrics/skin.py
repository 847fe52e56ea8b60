"""`skin-tone`: how far the colour of cheeks and forehead moved, as CIE76 difference in CIELAB (D65); 2 is just visible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.images.lab import F64Array, lab
from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.types import U8Image

# Landmarks in whose middle a cheek lies: outer corner of the eye, wing of the nose, corner of the mouth, jaw.
_CHEEKS = ((36, 31, 48, 2), (45, 35, 54, 14))
_BROWS, _NOSE_BASE, _BRIDGE, _CHIN = (21, 22), 33, 27, 8
_FOREHEAD = 0.4  # of the way from the nose's base to the brows, continued beyond them
_RADIUS = 0.06  # of the distance from bridge to chin; about 27 px in an FFHQ crop of 1024 px


def skin_places(landmarks: npt.ArrayLike) -> tuple[F64Array, float]:
    """(3 x 2 centres of both cheeks and the forehead, their radius), shares of the side; of 68 x 2 landmarks."""
    points = np.asarray(landmarks, np.float64)
    brows = points[list(_BROWS)].mean(0)
    forehead = brows + _FOREHEAD * (brows - points[_NOSE_BASE])
    cheeks = [points[list(around)].mean(0) for around in _CHEEKS]
    return np.stack([*cheeks, forehead]), _RADIUS * float(np.linalg.norm(points[_CHIN] - points[_BRIDGE]))


def skin_colours(image: U8Image, landmarks: npt.ArrayLike) -> F64Array:
    """3 x 3: mean CIELAB colour of each place's disk; NaN where it lies outside the picture or there is no face."""
    colours = np.full((3, 3), np.nan)
    if not np.isfinite(landmarks).all():
        return colours
    centres, radius = skin_places(landmarks)
    for row, (x, y) in enumerate(centres * len(image)):
        found = _disk(image, x, y, max(radius * len(image), 1.0))
        if len(found):
            colours[row] = lab(found).mean(0)
    return colours


def tone_shift(before: F64Array, after: F64Array) -> float:
    """CIE76 length of the places' median change (3 x 3 each, CIELAB); NaN where no place is known in both.

    The median of three: a lock of hair, a hat or a hand at one of them has no say.
    """
    change = (after - before)[np.isfinite(after - before).all(axis=1)]
    return float(np.linalg.norm(np.median(change, axis=0))) if len(change) else float("nan")


def _disk(image: U8Image, x: float, y: float, radius: float) -> U8Image:
    """n x 3 pixels whose centres lie within the disk."""
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    part = image[top : max(0, int(y + radius) + 1), left : max(0, int(x + radius) + 1)]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    found: U8Image = part[(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2]
    return found


class SkinTone:
    """`skin-tone`, each picture's colours read at its own landmarks (the source's where it shows no face of its own)."""

    name = "skin-tone"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values >= 0}; NaN where the source shows no face."""
        pairs = zip(self._colours(trio.source), self._colours(trio.result), strict=True)
        shifts = [tone_shift(before, after) for before, after in pairs]
        return {self.name: torch.tensor(shifts, device=trio.result.device)}

    def _colours(self, faces: Faces) -> list[F64Array]:
        return faces.memo(self.name, lambda: [*map(skin_colours, faces.full, faces.landmarks)])


@metrics.register(
    SkinTone.name, "CIE76 colour shift of cheeks and forehead", "lower", weights=(LANDMARKS,), of_edits=True
)
def _build(_: Tools) -> SkinTone:
    return SkinTone()
