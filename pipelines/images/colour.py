"""The colours that a file means: ICC profiles and PNG's gAMA and cHRM as numbers, to sRGB and back.

Tags of profiles: ICC.1:2022, sections 9 and 10. sRGB: IEC 61966-2-1. gAMA, cHRM: the W3C's PNG specification, 11.3.2.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

F64Array = npt.NDArray[np.floating]
F32Array = npt.NDArray[np.float32]

_CODES = 4096  # places at which a curve is held; straight lines between them
_PLACES = np.linspace(0, 1, _CODES)
_NEAR = 2  # grey levels: a profile that moves no colour of the chart further is sRGB, whatever its name
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
_SRGB_XY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue


@dataclass(frozen=True)
class Shaper:
    """Codes of a file -> light -> sRGB.

    Attributes:
        curves: 1 or 3 rows of 4096: light (0 to 1) at evenly spaced codes (0 to 1).
        matrix: 3 x 3, light in the file's primaries -> light in sRGB's; None where they are the same, or for grey.
    """

    curves: F64Array
    matrix: F64Array | None = None

    def to_srgb(self, codes: npt.NDArray[Any]) -> F32Array:
        """... x C codes in [0, 1] -> ... x C sRGB values in [0, 1]; C is 3, or 1 for grey."""
        light = self._each(codes, lambda values, curve: np.interp(values, _PLACES, curve))
        return encoded(self._mixed(light, self.matrix))

    def from_srgb(self, values: npt.NDArray[Any]) -> F32Array:
        """The inverse of `to_srgb`; colours outside the file's gamut are clipped."""
        light = self._mixed(decoded(values), None if self.matrix is None else np.linalg.inv(self.matrix))
        return self._each(light, lambda level, curve: np.interp(level, curve, _PLACES))

    def _each(self, values: npt.NDArray[Any], function: Any) -> F32Array:
        rows = [self.curves[min(c, len(self.curves) - 1)] for c in range(values.shape[-1])]
        return np.stack([function(values[..., c], row) for c, row in enumerate(rows)], -1).astype(np.float32)

    @staticmethod
    def _mixed(light: F32Array, matrix: F64Array | None) -> F32Array:
        return light if matrix is None else np.clip(light @ matrix.T.astype(np.float32), 0, 1)

    @property
    def is_srgb(self) -> bool:
        """Whether nothing moves by more than two of 255 levels."""
        steps = np.linspace(0, 1, 9)
        chart = np.stack(np.meshgrid(steps, steps, steps), -1) if self.matrix is not None else steps[:, None]
        return bool(np.abs(self.to_srgb(chart) - chart).max() <= _NEAR / 255)


def encoded(light: npt.NDArray[Any]) -> F32Array:
    """Light in [0, 1] -> sRGB's codes in [0, 1]."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def decoded(values: npt.NDArray[Any]) -> F32Array:
    """sRGB's codes in [0, 1] -> light in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def shaper(info: Mapping[Any, Any], space: bytes) -> Shaper | None:
    """The curves and the matrix of a picture's `info` (Pillow's) for ``b"GRAY"`` or ``b"RGB "`` pixels.

    None: the file means sRGB, says nothing, says what does not fit its pixels, or says it by tables alone.
    """
    profile = info.get("icc_profile")
    try:
        found = _from_icc(profile, space) if profile else _from_png(info, space)
    except (KeyError, IndexError, ValueError, struct.error, np.linalg.LinAlgError):
        return None
    return None if found is None or found.is_srgb else found


def transform(profile: bytes, mode: str, back: bool = False) -> ImageCms.ImageCmsTransform | None:
    """LittleCMS's way from 8-bit ``RGB``, ``RGBA`` or ``CMYK`` pixels to sRGB (`back`: from sRGB to them).

    None where the profile does not fit the pixels (it is ignored then, as viewers do) or is sRGB by its numbers.
    """
    alpha = "RGBA" if mode == "RGBA" else "RGB"
    try:
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        way = ImageCms.buildTransform(source, srgb, mode, alpha)
        if mode != "CMYK" and _still(way, mode):
            return None
        return ImageCms.buildTransform(srgb, source, alpha, mode) if back else way
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _still(way: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    chart = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)).convert(mode)
    moved = np.asarray(ImageCms.applyTransform(chart, way)).astype(int) - np.asarray(chart)
    return bool(np.abs(moved).max() <= _NEAR)


def _from_icc(profile: bytes, space: bytes) -> Shaper | None:
    if profile[16:20] != space:
        return None
    tags = {
        profile[at : at + 4]: profile[place : place + size]
        for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
        for place, size in [struct.unpack(">II", profile[at + 4 : at + 12])]
    }
    if space == b"GRAY":
        return Shaper(_curve(tags[b"kTRC"])[None])
    if b"A2B0" in tags:
        return None
    columns = [_fixed(tags[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
    return Shaper(curves, np.linalg.solve(_to_xyz(_SRGB_XY), np.stack(columns, 1)))


def _fixed(data: bytes) -> F64Array:
    return np.frombuffer(data, ">i4").astype(np.float64) / 65536


def _curve(tag: bytes) -> F64Array:
    """A tag of type ``curv`` or ``para`` at 4096 places."""
    if tag[:4] == b"para":
        kind = int.from_bytes(tag[8:10], "big")
        numbers = _fixed(tag[12 : 12 + 4 * (1, 3, 4, 5, 7)[kind]])
        curve: F64Array = np.clip(_parametric(kind, numbers), 0, 1)
        return curve
    if tag[:4] != b"curv":
        raise ValueError("a curve of another type")
    count = int.from_bytes(tag[8:12], "big")
    samples = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(np.float64)
    if count == 0:
        return _PLACES
    return (
        _PLACES ** (samples[0] / 256) if count == 1 else np.interp(_PLACES, np.linspace(0, 1, count), samples / 65535)
    )


def _parametric(kind: int, numbers: F64Array) -> F64Array:
    g, a, b, c, d, e, f = np.pad(numbers, (0, 7 - len(numbers))).tolist()
    power: F64Array = np.power(np.maximum(a * _PLACES + b, 0), g)
    if kind == 0:
        power = np.power(_PLACES, g)
    elif kind in (1, 2):  # Y = (aX + b)^g + c above -b / a, c below
        power = power + c
    else:
        power = np.where(d <= _PLACES, power + e, c * _PLACES + f)
    return power


def _from_png(info: Mapping[Any, Any], space: bytes) -> Shaper | None:
    gamma = info.get("gamma")
    if not gamma or "srgb" in info or not 0.1 < gamma < 10:
        return None
    places = info.get("chromaticity")
    matrix = None
    if space == b"RGB " and places and np.abs(np.subtract(places, _SRGB_XY)).max() > 0.005:
        matrix = np.linalg.solve(_to_xyz(_SRGB_XY), _to_xyz(places))
    if matrix is None and abs(gamma - 1 / 2.2) < 0.01:  # what writers of sRGB state, whose curve is another
        return None
    return Shaper((_PLACES ** (1 / gamma))[None], matrix)


def _to_xyz(places: Any) -> F64Array:
    """x and y of white, red, green and blue -> the matrix from light to XYZ, white adapted to D50 (Bradford)."""
    white, *primaries = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in np.reshape(places, (4, 2))]
    columns = np.stack(primaries, 1)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: F64Array = np.linalg.solve(_BRADFORD, np.diag(cones) @ _BRADFORD) @ (
        columns * np.linalg.solve(columns, white)
    )
    return adapted
