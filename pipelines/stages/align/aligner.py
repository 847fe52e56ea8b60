"""Photo -> aligned faces: find, place the FFHQ square, crop. And the same questions about crops that exist already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.errors import PhotoError
from pipelines.images.geometry import F64Array, as_quad, crop_quad, ffhq_quad, side, spread_68, to_crop
from pipelines.images.pixels import resize_u8
from pipelines.types import F32Array, Face, FaceFinder, Quad, U8Image

ALIGNED_LIMIT = 0.1
"""A crop counts as aligned up to this `misalignment`.

Measured with dlib, detection and landmarks' noise included: 20 CelebA-HQ and FFHQ crops of papers' test sets 0.002 to
0.051; 120 crops at 256 px 0.007 (median), 0.031 (95 %), one above the limit. With RetinaFace's five points 0.013 to
0.109, 97 % below the limit. Of 28 ordinary photos, close portraits among them, the nearest has 0.156 (0.123).
"""

_LOCATE_SIDE = 448  # px: a face of an aligned crop is then about 250 px wide, three times what the detector needs
_FRAME = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


@dataclass(frozen=True)
class AlignedFace:
    """One face, ready for the generator.

    Attributes:
        quad: the crop's corners in photo pixels; None where the photo was an aligned crop already.
        score: the finder's confidence.
        crop: uint8 size x size x 3, RGB.
        landmarks: 68 x 2 or 5 x 2 float32, (x, y) as a share of the crop's side.
    """

    quad: Quad | None
    score: float
    crop: U8Image
    landmarks: F32Array


class Aligner:
    """Cuts the faces of one photo out as FFHQ does.

    Args:
        finder: finds faces and landmarks.
        size: side of the crops, px.
        faces: ``largest`` (one crop) or ``all``; the largest FFHQ square comes first.
        min_score: faces with a lower finder's score are passed over; None: the finder's own threshold.
        min_size: least side of the FFHQ square in photo pixels (about 1.8 times the width of the face): the number of
            real pixels that a crop is made of, whichever finder found it. 0: any.
        keep_aligned: leave a photo as it is (only resized) when it is a crop of this kind already. Cropping again would
            only add mirrored borders.
    """

    version = "4"  # 2: large faces of large JPEGs are cut from a reduced decode; 3: bicubic sampling;
    # 4: resizing in torch, and the largest face is that of the largest square

    def __init__(
        self,
        finder: FaceFinder,
        size: int = 1024,
        faces: Literal["largest", "all"] = "largest",
        min_score: float | None = None,
        min_size: int = 0,
        keep_aligned: bool = True,
    ) -> None:
        self.finder = finder
        self.size = size
        self.faces = faces
        self.min_score = min_score
        self.min_size = min_size
        self.keep_aligned = keep_aligned

    def __call__(self, photo: U8Image) -> list[AlignedFace]:
        """uint8 H x W x 3 -> one or more faces. Raises PhotoError ``no-face`` or ``face-too-small``."""
        found = [face for face in self.finder.find(photo) if self.min_score is None or face.score >= self.min_score]
        placed = [(face, ffhq_quad(face.landmarks)) for face in found if _spans(face, photo)]
        if not placed:
            raise PhotoError("no-face", f"no face was found; {_advice(self.finder.name, bool(found))}")
        placed.sort(key=lambda one: -side(one[1]))  # detectors' boxes come in few sizes; equal squares keep their order
        large = [(face, quad) for face, quad in placed if side(quad) >= self.min_size]
        if not large:
            widest = side(placed[0][1])
            raise PhotoError(
                "face-too-small", f"the largest face spans {widest:.0f} px, below --min-size {self.min_size}"
            )
        chosen = large if self.faces == "all" else large[:1]
        return [self._aligned(photo, face, quad) for face, quad in chosen]

    def _aligned(self, photo: U8Image, face: Face, quad: F64Array) -> AlignedFace:
        whole = _shares(face.landmarks, photo)
        if self.keep_aligned and _is_square(photo) and misalignment(whole) <= ALIGNED_LIMIT:
            return AlignedFace(None, face.score, resize_u8(photo, self.size, self.size), whole)
        landmarks = to_crop(face.landmarks, quad).astype(np.float32)
        return AlignedFace(as_quad(quad), face.score, crop_quad(photo, quad, self.size), landmarks)


def _spans(face: Face, photo: U8Image) -> bool:
    """Whether the landmarks make a square that overlaps the photo (a false find can lie outside, or in one point)."""
    try:
        quad = ffhq_quad(face.landmarks)
    except ValueError:
        return False
    height, width = photo.shape[:2]
    low, high = quad.min(0), quad.max(0)
    return bool(np.all(high > 0) and low[0] < width - 1 and low[1] < height - 1)


def _is_square(photo: U8Image) -> bool:
    height, width = photo.shape[:2]
    return bool(abs(height - width) <= 0.01 * max(height, width))


def _shares(landmarks: F32Array, picture: U8Image) -> F32Array:
    """Pixel-centre coordinates of a picture -> shares of its sides."""
    height, width = picture.shape[:2]
    shares: F32Array = ((landmarks + 0.5) / np.array([width, height])).astype(np.float32)
    return shares


def locate(crop: U8Image, finder: FaceFinder) -> F32Array:
    """Landmarks of a crop that is aligned already, without cropping it again.

    Reads them from a copy of at most 448 px, in a quarter of the time that a 1024 px crop takes. They differ from the
    crop's own by 0.4 % of the side, as much as any two searches of one face do (49 portraits).

    Returns:
        68 x 2 float32, shares of the side, of the largest face; a 5-point finder's are spread by
        `geometry.spread_68`. NaN where there is no face.
    """
    height, width = crop.shape[:2]
    shrink = max(1.0, max(height, width) / _LOCATE_SIDE)
    copy = resize_u8(crop, max(1, round(width / shrink)), max(1, round(height / shrink)))
    faces = finder.find(copy)
    if not faces:
        return np.full((68, 2), np.nan, np.float32)
    return spread_68(_shares(faces[0].landmarks, copy))


def misalignment(landmarks: F32Array) -> float:
    """How far the FFHQ square of these landmarks is from the frame itself.

    Args:
        landmarks: 68 x 2 or 5 x 2, shares of the crop's side.

    Returns:
        The worst corner's distance as a share of the side: 0 is exactly aligned; infinite without landmarks (NaN).
    """
    try:
        quad = ffhq_quad(landmarks)
    except ValueError:
        return math.inf
    return float(np.hypot(*(quad - _FRAME).T).max())


def _advice(finder: str, at_the_edge: bool) -> str:
    if at_the_edge:
        return "what was found lies mostly outside the photo: leave it out, or give a wider one"
    if finder.startswith("facexlib"):
        return "make it larger or turn it upright, or leave this photo out"
    return "try --detector facexlib, or leave this photo out"
