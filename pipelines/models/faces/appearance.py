"""What is to be seen on a face beside its shape: lips, brows, lids, beard, hair, skin and light, as colours at its landmarks.

Every figure is a difference of CIELAB colours within one picture, between a part and the skin of the same face (hair, skin and
light apart), so that exposure and the colour of the skin count little. No network, no weights. The parts are polygons
from the 68 landmarks; colours are the means of their pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipelines.images.lab import lab
from pipelines.types import F32Array, U8Image

F64Array = npt.NDArray[np.float64]

APPEARANCE: Final = ("lipstick", "eyebrows", "eyeshadow", "beard", "hair", "hair_warm", "skin", "light")

_CHEEKS: Final = ((36, 31, 48, 2), (45, 35, 54, 14))  # in whose middle a cheek lies: viewer's left, right
_OUTER: Final = tuple(range(48, 60))
_INNER: Final = tuple(range(60, 68))
_BROWS: Final = (tuple(range(17, 22)), tuple(range(22, 27)))
_UPPER_LIDS: Final = ((36, 37, 38, 39), (42, 43, 44, 45))
_JAW: Final = tuple(range(4, 13))
_UNDER_NOSE: Final = (31, 32, 33, 34, 35)
_LOWER_LIP: Final = (54, 55, 56, 57, 58, 59, 48)
_UPPER_LIP: Final = (54, 53, 52, 51, 50, 49, 48)


def appearance(image: U8Image, landmarks: F32Array) -> dict[str, float]:
    """The appearance of one face.

    - ``lipstick``: how much redder (a*) and darker the lips are than the cheeks.
    - ``eyebrows``: how much darker (L*) the brows are than the skin above them.
    - ``eyeshadow``: how much darker the upper lids are than the cheeks; eye make-up, and deep-set or shaded eyes.
    - ``beard``: how much darker chin and upper lip are than the cheeks.
    - ``hair``: L* of what is above the forehead, 0 black to 100 white; a hat counts as hair, a bald head as light hair.
    - ``hair_warm``: its b*: grey and black 0, blond and red 15 to 30.
    - ``skin``: L* of the cheeks.
    - ``light``: L* of the viewer's right cheek minus that of the left one.

    Args:
        image: uint8 H x W x 3, RGB.
        landmarks: 68 x 2 (iBUG order), (x, y) in pixels.

    Returns:
        The figures by name, in units of CIELAB; NaN where a landmark is, or a part lies outside the picture.
    """
    if not np.isfinite(landmarks).all():
        return dict.fromkeys(APPEARANCE, float("nan"))
    parts = _Parts(image, np.asarray(landmarks, np.float64))
    left, right = (parts.disk(group) for group in _CHEEKS)
    cheeks = (left + right) / 2
    lips, brows, hair = parts.lips(), parts.brows(), parts.hair()
    return {
        "lipstick": float((lips - cheeks)[1] - 0.5 * (lips - cheeks)[0]),
        "eyebrows": float((parts.above_brows() - brows)[0]),
        "eyeshadow": float((cheeks - parts.lids())[0]),
        "beard": float((cheeks - parts.beard())[0]),
        "hair": float(hair[0]),
        "hair_warm": float(hair[2]),
        "skin": float(cheeks[0]),
        "light": float((right - left)[0]),
    }


class _Parts:
    """Mean colours of the parts of one face; `unit` is the distance of the eye centres, `up` points to the forehead."""

    def __init__(self, image: U8Image, points: F64Array) -> None:
        self.image = image
        self.points = points
        left, right = points[36:42].mean(0), points[42:48].mean(0)
        self.unit = max(float(np.linalg.norm(right - left)), 1.0)
        across = (right - left) / self.unit
        self.across, self.up = across, np.array((across[1], -across[0]))

    def colour(self, *polygons: F64Array, without: F64Array | None = None) -> F64Array:
        """L*, a*, b* of the pixels inside; NaN where there are none."""
        height, width = self.image.shape[:2]
        mask = Image.new("1", (width, height))
        draw = ImageDraw.Draw(mask)
        for polygon in polygons:
            draw.polygon([tuple(point) for point in polygon.tolist()], fill=1)
        if without is not None:
            draw.polygon([tuple(point) for point in without.tolist()], fill=0)
        found = self.image[np.asarray(mask)]
        return lab(found).mean(0) if len(found) else np.full(3, np.nan)

    def disk(self, around: tuple[int, ...]) -> F64Array:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack((np.cos(angle), np.sin(angle)), 1) * 0.15 * self.unit
        return self.colour(self.points[list(around)].mean(0) + ring)

    def lips(self) -> F64Array:
        return self.colour(self.points[list(_OUTER)], without=self.points[list(_INNER)])

    def brows(self) -> F64Array:
        return self.colour(*(self._band(self.points[list(brow)], -0.05, 0.05) for brow in _BROWS))

    def above_brows(self) -> F64Array:
        return self.colour(*(self._band(self.points[list(brow)], 0.15, 0.3) for brow in _BROWS))

    def lids(self) -> F64Array:
        return self.colour(*(self._band(self.points[list(lid)], 0.02, 0.1) for lid in _UPPER_LIDS))

    def beard(self) -> F64Array:
        inward = 0.8 * self.points[list(_JAW)] + 0.2 * self.points[57]
        chin = np.concatenate((inward, self.points[list(_LOWER_LIP)] - 0.06 * self.unit * self.up))
        nose, lip = self.points[list(_UNDER_NOSE)], self.points[list(_UPPER_LIP)] + 0.03 * self.unit * self.up
        return self.colour(chin, np.concatenate((nose - 0.05 * self.unit * self.up, lip)))

    def hair(self) -> F64Array:
        middle = self.points[17:27].mean(0)
        corners = [(-0.55, 1.15), (-0.35, 1.45), (0.35, 1.45), (0.55, 1.15)]
        return self.colour(np.stack([middle + self.unit * (x * self.across + y * self.up) for x, y in corners]))

    def _band(self, line: F64Array, low: float, high: float) -> F64Array:
        """Between two copies of a line, `low` and `high` units above it."""
        return np.concatenate((line + low * self.unit * self.up, line[::-1] + high * self.unit * self.up))
