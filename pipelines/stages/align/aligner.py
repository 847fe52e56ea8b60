"""Photo -> aligned faces: find, place the FFHQ square, crop. And the same questions about crops that exist already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.errors import PhotoError
from pipelines.images.geometry import (
    F64Array,
    as_quad,
    crop_quad,
    ffhq_quad,
    five_points,
    side,
    spread_68,
    to_crop,
)
from pipelines.images.pixels import resize_u8
from pipelines.stages.align.search import Search
from pipelines.types import F32Array, Face, FaceFinder, Quad, U8Image

ALIGNED_LIMIT = 0.1
"""A crop counts as aligned up to this `misalignment`.

Measured with dlib, detection and landmarks' noise included: 20 CelebA-HQ and FFHQ crops of papers' test sets 0.002 to
0.051; 120 crops at 256 px 0.007 (median), 0.031 (95 %), one above the limit. With RetinaFace's five points 0.013 to
0.109, 97 % below the limit. Of 28 ordinary photos, close portraits among them, the nearest has 0.156 (0.123).
"""

_LOCATE_SIDE = 448  # px: a face of an aligned crop is then about 250 px wide, three times what the detector needs
_INSIDE = 0.03  # of the side: how far from the photo's edge an eye and a corner of the mouth must lie to be seen
_AT_EDGE = -0.02  # a point this far outside is still guessed from what can be seen beside it
_SAME = 0.25  # of the side: squares whose middles are this close show one face
_FRAME = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


@dataclass(frozen=True)
class AlignedFace:
    """One face, ready for the generator.

    Attributes:
        quad: the crop's corners in photo pixels; None where the photo was an aligned crop already.
        score: the finder's confidence.
        crop: uint8 size x size x 3, RGB.
        landmarks: 68 x 2 or 5 x 2 float32, (x, y) as a share of the crop's side.
        way: what found it: the detector's name, or a way of `Search.find`.
    """

    quad: Quad | None
    score: float
    crop: U8Image
    landmarks: F32Array
    way: str = ""


@dataclass(frozen=True)
class _Placed:
    """A face and its FFHQ square, in photo pixels."""

    face: Face
    quad: F64Array
    way: str


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
        search: where the finder finds nothing, and the second look at what it is not sure of; None: neither.
        sure: least score with which a find of `finder` needs no second look.
        choose: (photo, squares of its faces, the largest first) -> which one is meant; `faces` does not count then.
        margin: how much wider than FFHQ's the crops are at each edge, as a share of its side.
    """

    version = "5"  # 2: large faces of large JPEGs are cut from a reduced decode; 3: bicubic sampling;
    # 4: resizing in torch, and the largest face is that of the largest square; 5: the thorough search, faces that show

    def __init__(
        self,
        finder: FaceFinder,
        size: int = 1024,
        faces: Literal["largest", "all"] = "largest",
        min_score: float | None = None,
        min_size: int = 0,
        keep_aligned: bool = True,
        search: Search | None = None,
        sure: float = -math.inf,
        choose: Callable[[U8Image, Sequence[F64Array]], int] | None = None,
        margin: float = 0.0,
    ) -> None:
        self.finder = finder
        self.size = size
        self.faces = faces
        self.min_score = min_score
        self.min_size = min_size
        self.keep_aligned = keep_aligned
        self.search = search
        self.sure = sure
        self.choose = choose
        self.margin = margin

    def __call__(self, photo: U8Image, thorough: bool = True) -> list[AlignedFace]:
        """uint8 H x W x 3 -> one or more faces, the largest first.

        Args:
            thorough: search on where the finder finds nothing.

        Raises:
            PhotoError: ``no-face`` or ``face-too-small``.
        """
        found = self.finder.find(photo)
        clear = [face for face in found if self.min_score is None or face.score >= self.min_score]
        placed = self._placed(photo, clear, self.finder.name)
        if not placed and thorough and self.search and self.min_score is None:
            placed = self._placed(photo, *self.search.find(photo))
        if not placed:
            raise PhotoError("no-face", f"no face was found; {_advice(bool(found))}")
        placed.sort(
            key=lambda one: -side(one.quad)
        )  # detectors' boxes come in few sizes; equal squares keep their order
        large = [one for one in placed if side(one.quad) >= self.min_size]
        if not large:
            widest = side(placed[0].quad)
            raise PhotoError(
                "face-too-small", f"the largest face spans {widest:.0f} px, below --min-size {self.min_size}"
            )
        if self.choose is not None:
            chosen = [large[self.choose(photo, [one.quad for one in large])]]
        else:
            chosen = large if self.faces == "all" else large[:1]
        return [self._aligned(photo, one) for one in chosen]

    def _placed(self, photo: U8Image, faces: list[Face], way: str) -> list[_Placed]:
        """The squares of faces that can be seen, upright; each face once."""
        placed: list[_Placed] = []
        for face in faces:
            seen = self._second_look(photo, face, way)
            if seen is None or not shows(seen.landmarks, photo):
                continue
            quad = ffhq_quad(seen.landmarks)
            if not any(np.hypot(*(quad.mean(0) - one.quad.mean(0))) < _SAME * side(one.quad) for one in placed):
                placed.append(_Placed(seen, quad, way))
        return placed

    def _second_look(self, photo: U8Image, face: Face, way: str) -> Face | None:
        if self.search is None or (way == self.finder.name and face.score >= self.sure):
            return face
        return self.search.settle(photo, face)

    def _aligned(self, photo: U8Image, one: _Placed) -> AlignedFace:
        whole = _shares(one.face.landmarks, photo)
        if self.keep_aligned and not self.margin and _is_square(photo) and misalignment(whole) <= ALIGNED_LIMIT:
            return AlignedFace(None, one.face.score, resize_u8(photo, self.size, self.size), whole, one.way)
        middle = one.quad.mean(0)
        quad = middle + (1 + 2 * self.margin) * (one.quad - middle)
        landmarks = to_crop(one.face.landmarks, quad).astype(np.float32)
        crop = crop_quad(photo, quad, self.size)
        return AlignedFace(as_quad(quad), one.face.score, crop, landmarks, one.way)


def shows(landmarks: F32Array, photo: U8Image) -> bool:
    """Whether a photo shows enough of a face: an eye, a corner of the mouth, and three of the five points.

    Detectors complete what the photo's edge cuts off, eyes above a chin for example, and the crop's mirrored border
    makes that look likely. False for landmarks that span nothing.

    Args:
        landmarks: 68 x 2 or 5 x 2, photo pixels.
    """
    try:
        length = side(ffhq_quad(landmarks))
    except ValueError:
        return False
    points = five_points(landmarks)
    height, width = photo.shape[:2]
    depth = np.minimum(points + 0.5, np.array([width, height]) - 0.5 - points).min(1) / length
    seen = depth > _INSIDE
    return bool(seen[:2].any() and seen[3:].any() and (depth > _AT_EDGE).sum() >= 3)


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


def _advice(at_the_edge: bool) -> str:
    if at_the_edge:
        return "what was found shows no face, or lies mostly outside the photo: leave it out, or give a wider one"
    return "give a larger or clearer photo, or leave this one out"
