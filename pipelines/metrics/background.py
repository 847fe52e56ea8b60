"""`mse-outside`: how far what an edit should leave alone (background, hat, hands, far hair) is from the source.

The face is the convex hull of the source's 68 landmarks, which end at the eyebrows, with a forehead and a margin added.
By the canon of thirds a hairline is as far above the brows as the nose's base is below them, so the forehead is what lies
beneath the brows, mirrored about the brow line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools

MARGIN = 0.06  # of the distance from chin to hairline; about 10 px in an FFHQ crop of 256 px
_LEFT_BROW, _RIGHT_BROW, _CHIN, _NOSE_BASE = slice(17, 22), slice(22, 27), 8, 33
# Temples, nose and eyes: mirrored, they make an arch. The jaw further down would make the forehead a box.
_MIRRORED = [0, 16, *range(27, 48)]
_DIRECTIONS = 360  # of tangents around the face; its edge is then off by less than half a pixel at 256 px
_FINER = 5  # the polygon is drawn at this many times the side
F64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def outside_face(landmarks: npt.ArrayLike, side: int, margin: float = MARGIN) -> Mask:
    """Which pixels of a square picture lie outside the face.

    Args:
        landmarks: 68 x 2 (iBUG order), (x, y) as shares of the side, 0 and 1 at the picture's edges; may lie beyond.
        side: px.
        margin: how far beyond the hull the face reaches in every direction, as a share of the distance from chin to
            hairline.

    Returns:
        side x side bool, [y, x], True outside the face. All False, so that nothing is measured, where there is no face:
        any landmark is NaN, or both brows lie at one place.

    Raises:
        ValueError: another shape of landmarks, a side below 1, a negative margin.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or side < 1 or not margin >= 0:
        raise ValueError(f"needs 68 x 2 landmarks, a side, a margin; got {points.shape}, {side} px, {margin}")
    brows = points[_LEFT_BROW].mean(0), points[_RIGHT_BROW].mean(0)
    # Written so that NaN fails it.
    if not (np.isfinite(points).all() and np.linalg.norm(brows[1] - brows[0]) > 0):
        return np.zeros((side, side), np.bool_)
    mirrored = _mirror(points[_MIRRORED], *brows)
    hairline = mirrored[_MIRRORED.index(_NOSE_BASE)]
    height = float(np.linalg.norm(points[_CHIN] - hairline))
    return _outside(_grown_hull(np.concatenate([points, mirrored]), margin * height), side)


def mse_outside(x: Tensor, y: Tensor, outside: Tensor) -> Tensor:
    """Mean squared error over channels and the pixels of a mask, on [-1, 1] data.

    Args:
        x: n x 3 x H x W, RGB.
        y: the same.
        outside: n x H x W bool, on the same device.

    Returns:
        n values in [0, 4]; NaN where a mask is empty.
    """
    squared = (x - y).square().mean(dim=1)
    return torch.where(outside, squared, 0).sum(dim=(1, 2)) / outside.sum(dim=(1, 2))


class OutsideError:
    """`mse-outside` at 256 px; the face is found in the source alone, so every edit is judged on the same pixels."""

    name = "mse-outside"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values in [0, 4]}; NaN where the source shows no face, or nothing but one."""
        outside = trio.source.memo(self.name, lambda: _masks(trio.source))
        return {self.name: mse_outside(trio.source.pixels, trio.result.pixels, outside)}


def _masks(faces: Faces) -> Tensor:
    """n x 256 x 256 bool, True outside each face."""
    side = faces.pixels.shape[-1]
    masks = np.stack([outside_face(landmarks, side) for landmarks in faces.landmarks])
    return torch.from_numpy(masks).to(faces.device)


def _mirror(points: F64Array, left: F64Array, right: F64Array) -> F64Array:
    """n x 2 points, reflected in the line through `left` and `right`."""
    along = (right - left) / np.linalg.norm(right - left)
    normal = np.array([-along[1], along[0]])
    mirrored: F64Array = points - 2 * ((points - left) @ normal)[:, None] * normal
    return mirrored


def _grown_hull(points: F64Array, grow: float) -> F64Array:
    """Corners (in order) of the convex hull of n x 2 points, moved outwards by `grow`; `_DIRECTIONS` x 2.

    A convex set is what lies behind its tangents, and growing it moves every tangent outwards by the same distance. So the
    corners are where neighbouring tangents meet, and no search for the hull's own corners is needed.
    """
    step = 2 * np.pi / _DIRECTIONS
    angles = np.arange(_DIRECTIONS) * step
    out = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = (points @ out.T).max(axis=0) + grow
    aside = (np.roll(reach, -1) - reach * np.cos(step)) / np.sin(step)
    corners: F64Array = reach[:, None] * out + aside[:, None] * np.stack([-out[:, 1], out[:, 0]], axis=1)
    return corners


def _outside(polygon: F64Array, side: int) -> Mask:
    """side x side bool, False where a pixel's centre lies in the polygon (n x 2, shares of the side)."""
    # Pillow's polygons are up to a pixel too large, hence a finer picture; of an odd factor, so that it has the centres.
    fine = side * _FINER
    picture = Image.new("L", (fine, fine), 1)
    # Shares have 0 at the picture's edge, Pillow has it at the first pixel's centre.
    ImageDraw.Draw(picture).polygon([(x * fine - 0.5, y * fine - 0.5) for x, y in polygon.tolist()], fill=0)
    middle = _FINER // 2
    return np.asarray(picture)[middle::_FINER, middle::_FINER] > 0


@metrics.register(OutsideError.name, "mse outside the source's face", "lower", weights=(LANDMARKS,), of_edits=True)
def _build(_: Tools) -> OutsideError:
    return OutsideError()
