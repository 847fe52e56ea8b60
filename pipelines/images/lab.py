"""Colours as people tell them apart: CIELAB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64Array = npt.NDArray[np.float64]

_TO_XYZ = np.array(  # of the primaries and the white of IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degrees


def lab(levels: npt.ArrayLike) -> F64Array:
    """... x 3 sRGB levels, 0 to 255 -> CIELAB (D65): L 0 to 100, a, b about -100 to 100."""
    share = np.asarray(levels, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    made: F64Array = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return made
