"""From landmarks to the FFHQ square and back: where the aligned crop lies in the photo, and how its pixels are taken.

Photo coordinates are (x, y) in pixels with whole numbers at pixel *centres*, as landmark detectors give them; the
picture therefore spans -0.5 to width - 0.5. Coordinates in a crop are shares of its side: 0 and 1 are its edges.

The square and the treatment of the picture's border follow the dataset script of FFHQ (Karras, Laine, Aila 2019, "A
Style-Based Generator Architecture for GANs", appendix A, and Karras et al. 2018 for CelebA-HQ, appendix C), because
generators and encoders were trained on pictures that were made so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipelines.images.pixels import resize_u8
from pipelines.types import F32Array, Quad, U8Image

F64Array = npt.NDArray[np.float64]

_MOUTH_68 = (48, 54)
_OVERSAMPLE = 1.25  # samples a result pixel, each way
_FINEST = 1.6  # photo pixels a result pixel: more would alias in bicubic sampling
_SUPPORT = 4  # pixels beside the square that the resampling filters may touch


def ffhq_quad(landmarks: npt.ArrayLike) -> F64Array:
    """The FFHQ square of a face.

    With e the eye mid-point, u the vector from eye to eye and m the vector from e to the mouth's mid-point, half
    the square's x axis is (u - rot90(m)) normalised to max(2 |u|, 1.8 |m|), and its centre is e + 0.1 m.

    Args:
        landmarks: 68 x 2 (iBUG order) or 5 x 2 (left eye, right eye, nose, mouth left, mouth right), (x, y), any unit.

    Returns:
        4 x 2 corners in the landmarks' unit: top-left, bottom-left, bottom-right, top-right.

    Raises:
        ValueError: another shape, a NaN, or points that span nothing.
    """
    left, right, _, *corners = five_points(landmarks)
    mouth = (corners[0] + corners[1]) * 0.5
    eyes = (left + right) * 0.5
    eye_to_eye = right - left
    eye_to_mouth = mouth - eyes
    across = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    length = math.hypot(*across)
    if not length > 0:
        raise ValueError("these landmarks span no face (NaN, or all at one place)")
    across *= max(math.hypot(*eye_to_eye) * 2.0, math.hypot(*eye_to_mouth) * 1.8) / length
    down = np.array([-across[1], across[0]])
    centre = eyes + eye_to_mouth * 0.1
    return np.stack([centre - across - down, centre - across + down, centre + across + down, centre + across - down])


def five_points(landmarks: npt.ArrayLike) -> F64Array:
    """68 x 2 or 5 x 2 -> 5 x 2: the eyes (means of their outlines), nose, mouth's corners; viewer's left first."""
    points = np.asarray(landmarks, np.float64)
    if points.shape == (68, 2):
        return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], *points[list(_MOUTH_68)]])
    if points.shape == (5, 2):
        return points
    raise ValueError(f"landmarks are 68 x 2 or 5 x 2, not {' x '.join(map(str, points.shape))}")


def spread_68(landmarks: F32Array) -> F32Array:
    """68 x 2 unchanged; 5 x 2 -> 68 x 2 with the outline points of an eye at its centre, the nose at 30, the mouth's
    corners at 48 and 54 and NaN elsewhere. `ffhq_quad` of both is the same."""
    if landmarks.shape == (68, 2):
        return landmarks
    spread = np.full((68, 2), np.nan, np.float32)
    spread[36:42], spread[42:48], spread[30] = landmarks[0], landmarks[1], landmarks[2]
    spread[list(_MOUTH_68)] = landmarks[3:5]
    return spread


def as_quad(corners: npt.ArrayLike) -> Quad:
    """4 x 2 numbers -> the plain tuples that an `Item` and the manifest hold."""
    return tuple((float(x), float(y)) for x, y in np.asarray(corners, np.float64))


def side(quad: Quad | F64Array) -> float:
    """Length of the square's side, in photo pixels (the mean of its top and left edge)."""
    _, axes = _frame(quad)
    return float(np.linalg.norm(axes, axis=0).mean())


def to_crop(points: npt.ArrayLike, quad: Quad | F64Array) -> F64Array:
    """n x 2 photo points -> n x 2 shares of the crop's side, in [0, 1] inside it. The quad is a parallelogram."""
    origin, axes = _frame(quad)
    return np.asarray(np.linalg.solve(axes, (np.asarray(points, np.float64) - origin).T).T, np.float64)


def _frame(quad: Quad | F64Array) -> tuple[F64Array, F64Array]:
    """Top-left corner and the 2 x 2 matrix whose columns are the top and the left edge."""
    corners = np.asarray(quad, np.float64)
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise ValueError("a quad is four finite corners: top-left, bottom-left, bottom-right, top-right")
    return corners[0], np.stack([corners[3] - corners[0], corners[1] - corners[0]], axis=1)


def photo_to_crop(quad: Quad | F64Array, size: int, left: int = 0, top: int = 0) -> tuple[float, ...]:
    """Pillow's six numbers that read a `size` px crop at the pixels of a photo (a part that starts at `left`, `top`).

    For `Image.transform(..., Image.Transform.AFFINE, ...)`, which maps output to input in edge-based coordinates.
    """
    origin, axes = _frame(quad)
    inverse = np.linalg.inv(axes) * size
    offset = inverse @ (np.array([left - 0.5, top - 0.5]) - origin)
    return (*map(float, inverse[0]), float(offset[0]), *map(float, inverse[1]), float(offset[1]))


def crop_quad(image: U8Image, quad: Quad | F64Array, size: int) -> U8Image:
    """The pixels of a square region of a photo, as FFHQ takes them but filtered better.

    Only the region around the square is touched, and it is first shrunk to at most 1.6 pixels a result pixel, so memory
    is bounded by the result, not by the photo. A square larger than the result is sampled bicubically at 1.25 times the
    result's size and shrunk by a Lanczos filter; a smaller one is enlarged in one step. Against eightfold supersampling
    of seven real photos, squares of 1.05 to 1.6 times the result: 48 to 53 dB (FFHQ's own fourfold way: 42 to 53 dB),
    of 2.5 times 45 to 51 dB (46 to 53), of 5 times 42 to 49 dB (52 to 55, at ten times the samples; JPEGs that large
    are decoded at reduced scale before). Where the square leaves the photo, the photo
    is mirrored, and fades into blur and then into its median colour over FFHQ's distances.

    Args:
        image: uint8 H x W x 3.
        quad: top-left, bottom-left, bottom-right, top-right corner, photo pixels; a parallelogram.
        size: side of the result in pixels.

    Returns:
        uint8 size x size x 3.

    Raises:
        ValueError: the square lies outside the photo altogether, or spans nothing.
    """
    corners = np.asarray(quad, np.float64)
    length = side(corners)
    if not length > 0:
        raise ValueError("the square to crop has no area")
    region, corners = _region(image, corners, length / size)
    sampled = round(size * _OVERSAMPLE) if side(corners) > size else size
    padded, corners = _padded(region, corners, side(corners))
    reading = _reading(corners, sampled)
    picture = padded.transform((sampled, sampled), Image.Transform.AFFINE, reading, Image.Resampling.BICUBIC)
    return resize_u8(np.asarray(picture), size, size)


def _reading(corners: F64Array, size: int) -> tuple[float, ...]:
    """Pillow's six numbers that read the photo at the pixels of a `size` px crop (edge-based coordinates)."""
    origin, axes = _frame(corners)
    step = axes / size
    return (step[0, 0], step[0, 1], origin[0] + 0.5, step[1, 0], step[1, 1], origin[1] + 0.5)


def _region(image: U8Image, corners: F64Array, scale: float) -> tuple[U8Image, F64Array]:
    """The part of the photo that the square touches, shrunk to at most `_FINEST` pixels a result pixel."""
    height, width = image.shape[:2]
    margin = _SUPPORT * max(1.0, scale)
    left, top = np.maximum(np.floor(corners.min(0) - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(0) + margin) + 1, (width, height)).astype(int)
    if right <= left or bottom <= top:
        raise ValueError("the square to crop lies outside the photo")
    region = image[top:bottom, left:right]
    corners = corners - (left, top)
    if scale <= _FINEST:
        return region, corners
    whole = (right - left, bottom - top)
    shrunk = tuple(max(1, round(edge * _FINEST / scale)) for edge in whole)
    return resize_u8(region, *shrunk), (corners + 0.5) * (np.array(shrunk) / whole) - 0.5


def _padded(region: U8Image, corners: F64Array, length: float) -> tuple[Image.Image, F64Array]:
    """Mirror the photo beyond the borders that the square crosses, and fade there as FFHQ does.

    FFHQ's ramp rises from the photo's border over at least 0.3 sides (its padding); the blur (0.02 sides) begins a
    third of that *inside* the photo. Only as many pixels are made as the square needs.
    """
    height, width = region.shape[:2]
    # How far the square reaches beyond the photo's edges (half a pixel outside of the last centres).
    left_top, right_bottom = -0.5 - corners.min(0), corners.max(0) - np.array([width - 0.5, height - 0.5])
    outside = np.concatenate([left_top, right_bottom])
    needed = np.ceil(np.maximum(outside + _SUPPORT, 0)).astype(int)
    if not needed.any():
        return Image.fromarray(np.ascontiguousarray(region)), corners
    left, top, right, bottom = needed
    pixels = np.pad(region, ((top, bottom), (left, right), (0, 0)), mode="reflect")
    padded, corners = Image.fromarray(pixels), corners + np.array([left, top])
    if outside.max() <= 0:  # the square only touches the border: nothing of the mirror shows
        return padded, corners
    ramps = np.where(outside > 0, np.maximum(outside + 0.1 * length, 0.3 * length), np.inf)
    down = _ramp(pixels.shape[0], top, height, ramps[1], ramps[3])
    across = _ramp(pixels.shape[1], left, width, ramps[0], ramps[2])
    _fade(padded, down, across, 0.02 * length)
    return padded, corners


def _fade(picture: Image.Image, down: F32Array, across: F32Array, sigma: float) -> None:
    """Blends a picture into its blur where the larger of two ramps exceeds -1/3, and into its median colour above 0.

    Only where that is so: along the borders, band by band.
    """
    shrink, small = _blurred(picture, sigma)
    bands = list(_bands(down, across))
    for box, ramp in bands:
        reading = (box[0] / shrink, box[1] / shrink, box[2] / shrink, box[3] / shrink)
        size = (box[2] - box[0], box[3] - box[1])
        picture.paste(small.resize(size, Image.Resampling.BILINEAR, box=reading), box, _mask(ramp * 3.0 + 1.0))
    median = np.median(np.asarray(picture)[::8, ::8], axis=(0, 1))
    colour = tuple(int(value) for value in np.rint(median))
    for box, ramp in bands:
        picture.paste(colour, box, _mask(ramp))


def _bands(down: F32Array, across: F32Array) -> Iterator[tuple[tuple[int, int, int, int], F32Array]]:
    """The parts of a picture that change: left, top, right, bottom of each (no pixel twice), and its ramp."""
    rows, columns = (np.flatnonzero(ramp <= -1 / 3) for ramp in (down, across))
    top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (len(down), len(down))
    left, right = (columns[0], columns[-1] + 1) if len(columns) else (len(across), len(across))
    for box in (
        (0, 0, len(across), top),
        (0, bottom, len(across), len(down)),
        (0, top, left, bottom),
        (right, top, len(across), bottom),
    ):
        if box[0] < box[2] and box[1] < box[3]:
            yield box, np.maximum(down[box[1] : box[3], None], across[None, box[0] : box[2]])


def _blurred(picture: Image.Image, sigma: float) -> tuple[int, Image.Image]:
    """A Gaussian blur at a whole fraction of the size, and that fraction: a wide one costs little there."""
    shrink = max(1, int(sigma / 4))
    return shrink, picture.reduce(shrink).filter(ImageFilter.GaussianBlur(sigma / shrink))


def _ramp(count: int, start: int, inner: int, before: float, after: float) -> F32Array:
    """Signed distance beyond the photo (negative inside) along one axis, as a share of each end's ramp length."""
    place = np.arange(count, dtype=np.float32) - start
    lead = -place / before if math.isfinite(before) else np.full(count, -1.0)
    tail = (place - (inner - 1)) / after if math.isfinite(after) else np.full(count, -1.0)
    ramp: F32Array = np.maximum(lead, tail).astype(np.float32)
    return ramp


def _mask(weights: npt.NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(weights, 0.0, 1.0) * 255.0).astype(np.uint8))
