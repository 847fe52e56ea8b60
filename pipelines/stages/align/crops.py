"""From a decoded photo to its aligned faces: search and cut, cut again, or take the file as the crop that it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pipelines.errors import PhotoError
from pipelines.images.geometry import crop_quad, side, spread_68
from pipelines.images.pixels import resize_u8, to_tensor
from pipelines.records.photos import Photo
from pipelines.specs import AlignSpec, InvertSpec
from pipelines.stages.align.aligner import AlignedFace, Aligner, locate, misalignment
from pipelines.stages.align.detectors import LANDMARKS, build_aligner, build_locator, detectors, search_weights
from pipelines.stages.align.search import Search
from pipelines.types import F32Array, FaceBatch, FaceFinder, Quad, U8Image
from pipelines.weights.store import WeightStore


@dataclass(frozen=True)
class LoadedFace:
    """One aligned face.

    Attributes:
        crop: uint8 R x R x 3, RGB.
        quad: the crop's corners in the photo; None where the file is the crop.
        landmarks: 68 x 2 shares of the crop's side, NaN where no face was found; None where nobody asked.
        pixels: sha256 of `crop`, hex: equal pixels have equal codes, however they were cut ("" where nobody asked).
        scores: ``detector`` (its confidence), ``misalignment`` (share of the side, see `stages.align.aligner.misalignment`).
        found: the way in which it was found; "" where nobody searched.
    """

    crop: U8Image
    quad: Quad | None = None
    landmarks: F32Array | None = None
    pixels: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    found: str = ""


def least_side(size: int) -> int:
    """How many pixels of a *reduced* photo a crop of `size` px must span: twice as many as it has, so that the crop is
    still sampled as densely as `geometry.crop_quad` samples, and enough for exact landmarks (a face of about 250 px)."""
    return max(2 * size, 480)


def reduction(width: int, height: int, size: int) -> int:
    """The scale at which a photo is decoded first: the smallest of 1/8, 1/4, 1/2 at which its shorter side is still
    twice `least_side` (a face that fills half of it will do) and its longer side feeds the detector (1024 px)."""
    fits = (s for s in (8, 4, 2) if min(width, height) >= 2 * s * least_side(size) and max(width, height) >= 1024 * s)
    return next(fits, 1)


class DetectedCrops:
    """Finds and cuts the faces of a photo; `align` does both.

    Args:
        align: (picture, whether to search thoroughly) -> faces, quads in the picture's pixels.
        size: side of the crops; None: never look at a reduced photo (its faces' least size is asked for in pixels).
    """

    def __init__(self, align: Callable[[U8Image, bool], list[LoadedFace]], size: int | None = None) -> None:
        self._align = align
        self._size = size

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        return self._align(picture, True)

    def shrink(self, photo: Photo, width: int, height: int) -> int:
        return 1 if self._size is None else reduction(width, height, self._size)

    def faces_reduced(self, photo: Photo, picture: U8Image, shrink: int) -> list[LoadedFace] | None:
        """None unless every face that was found is large: a small one needs the whole photo's pixels."""
        try:
            faces = self._align(picture, False)
        except PhotoError:  # a face may be too small to be found here
            return None
        least = least_side(self._size or 0)
        if any((side(face.quad) if face.quad else min(picture.shape[:2])) < least for face in faces):
            return None
        return [replace(face, quad=_scaled(face.quad, shrink)) if face.quad else face for face in faces]


class ExistingCrops:
    """Faces whose place is known: the file is the crop, or an earlier run says where to cut.

    Args:
        size: side of the crops in pixels.
        locator: finds the 68 landmarks in a crop.
        check: measure how far a crop is from FFHQ's placement (unless the photo is trusted).
        landmarks: whether they are wanted also where nothing is checked: a third of the time that a crop takes.
    """

    version = "3"  # 2: large squares of large JPEGs come from a reduced decode; 3: resizing in torch

    def __init__(self, size: int, locator: FaceFinder, check: bool, landmarks: bool = True) -> None:
        self._size = size
        self._locator = locator
        self._check = check
        self._landmarks = landmarks

    def shrink(self, photo: Photo, width: int, height: int) -> int:
        """The scale at which `DetectedCrops` would have cut this face: equal pixels, equal codes."""
        shrink = reduction(width, height, self._size)
        span = side(photo.cut.quad) if photo.cut else min(width, height)
        return shrink if span >= shrink * least_side(self._size) else 1

    def faces_reduced(self, photo: Photo, picture: U8Image, shrink: int) -> list[LoadedFace] | None:
        if photo.cut is None:
            return self.faces(photo, picture)
        small = replace(photo, cut=replace(photo.cut, quad=_scaled(photo.cut.quad, 1 / shrink)))
        return [replace(face, quad=photo.cut.quad) for face in self.faces(small, picture)]

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        quad = photo.cut.quad if photo.cut else None
        crop = crop_quad(picture, quad, self._size) if quad else self._square(picture)
        check = self._check and not photo.trusted
        landmarks = locate(crop, self._locator) if check or self._landmarks else None
        scores = {"misalignment": misalignment(landmarks)} if check and landmarks is not None else {}
        return [LoadedFace(crop, quad, landmarks, pixel_digest(crop), scores)]

    def _square(self, picture: U8Image) -> U8Image:
        height, width = picture.shape[:2]
        if abs(height - width) > 0.01 * max(height, width):
            raise PhotoError(
                "not-aligned", f"the picture is {width} x {height}, not a square face crop; run with --align"
            )
        return resize_u8(picture, self._size, self._size)


def _scaled(quad: Quad, factor: float) -> Quad:
    """Corners in the pixels of a picture `factor` times as large (whole numbers lie at pixel centres)."""
    return tuple(((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) for x, y in quad)


def align_faces(spec: AlignSpec, store: WeightStore) -> DetectedCrops:
    """Finds the crops that `align` writes: nothing else of them is asked for."""
    aligner = build_aligner(spec, store)

    def align(picture: U8Image, thorough: bool) -> list[LoadedFace]:
        return [
            LoadedFace(face.crop, face.quad, scores={"detector": face.score}, found=face.way)
            for face in aligner(picture, thorough)
        ]

    return DetectedCrops(align, _reducible(spec))


def invert_faces(spec: InvertSpec, store: WeightStore, landmarks: bool) -> DetectedCrops | ExistingCrops:
    """Finds the crops that `invert` and `edit` work on, with the hash of their pixels and, where asked for, 68 landmarks."""
    locator = build_locator(store)
    if not spec.align:
        return ExistingCrops(spec.size, locator, check=not spec.aligned, landmarks=landmarks)
    aligner = build_aligner(spec, store)

    def align(picture: U8Image, thorough: bool) -> list[LoadedFace]:
        faces = []
        for face in aligner(picture, thorough):
            points = _all_68(face, locator) if landmarks else None
            digest = pixel_digest(face.crop)
            faces.append(LoadedFace(face.crop, face.quad, points, digest, {"detector": face.score}, face.way))
        return faces

    return DetectedCrops(align, _reducible(spec))


def _reducible(spec: AlignSpec) -> int | None:
    """The crops' side, where photos may be looked at reduced: `min_size` counts pixels of the whole photo."""
    return None if spec.min_size else spec.size


def _all_68(face: AlignedFace, locator: FaceFinder) -> F32Array:
    """The methods want 68 landmarks: measured, not spread from 5, wherever the crop's face is found again."""
    if face.landmarks.shape[0] == 68:
        return face.landmarks
    found = locate(face.crop, locator)
    return spread_68(face.landmarks) if np.isnan(found).any() else found


def reader_weights(spec: AlignSpec) -> tuple[str, ...]:
    """The catalogue entries that a run's reader needs, without loading anything."""
    if not isinstance(spec, InvertSpec):
        return search_weights(spec)
    return tuple(dict.fromkeys((*(search_weights(spec) if spec.align else ()), LANDMARKS)))


def faces_identity(spec: InvertSpec, store: WeightStore) -> list[object]:
    """What decides the crops that a chain works on."""
    if spec.align:
        return search_identity(spec, store)
    return ["given", ExistingCrops.version, spec.size, store.sha256(LANDMARKS)]


def search_identity(spec: AlignSpec, store: WeightStore) -> list[object]:
    """What decides a photo's crops."""
    detector = detectors.get(spec.detector)
    hashes = [store.sha256(name) for name in search_weights(spec)]
    options: list[object] = [spec.size, spec.faces, spec.min_score, spec.min_size]
    if spec.select is not None or spec.margin:
        person = (
            hashlib.sha256(Path(spec.select).read_bytes()).hexdigest() if spec.selects_person and spec.select else ""
        )
        options += [person or spec.select, spec.margin, "of all faces"]
    return [Aligner.version, Search.version, spec.detector, detector.version, *hashes, *options]


def pixel_digest(crop: U8Image) -> str:
    """sha256 (hex) of a crop's side and pixels."""
    return hashlib.sha256(repr(crop.shape).encode() + crop.tobytes()).hexdigest()


def face_batch(faces: Sequence[LoadedFace], side: int) -> FaceBatch:
    """The faces on the CPU, `side` px; landmarks that nobody asked for are NaN."""
    points = [np.full((68, 2), np.nan) if face.landmarks is None else face.landmarks for face in faces]
    landmarks = torch.from_numpy(np.stack(points).astype(np.float32))
    return FaceBatch(to_tensor([resize_u8(face.crop, side, side) for face in faces]), landmarks)
