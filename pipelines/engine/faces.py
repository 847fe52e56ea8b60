"""From a decoded photo to its aligned faces: search and cut, cut again, or take the file as the crop that it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.engine.detectors import LANDMARKS, build_aligner, detectors
from pipelines.engine.reader import LoadedFace, PhotoReader, pixel_digest
from pipelines.engine.source import Photo
from pipelines.errors import PhotoError
from pipelines.geometry import crop_quad, spread_68
from pipelines.images import resize_u8
from pipelines.specs import AlignSpec, InvertSpec
from pipelines.stages.align import AlignedFace, locate, misalignment
from pipelines.types import F32Array, FaceFinder, U8Image
from pipelines.weights.store import StoreConfig, WeightStore


class SearchedFaces:
    """Finds and cuts the faces of a photo; `align` does both."""

    def __init__(self, align: Callable[[U8Image], list[LoadedFace]]) -> None:
        self._align = align

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        return self._align(picture)


class GivenFaces:
    """Faces whose place is known: the file is the crop, or an earlier run says where to cut.

    Args:
        size: side of the crops in pixels.
        locator: finds the 68 landmarks in a crop.
        check: measure how far a crop is from FFHQ's placement (unless the photo is trusted).
    """

    def __init__(self, size: int, locator: FaceFinder, check: bool) -> None:
        self._size = size
        self._locator = locator
        self._check = check

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        quad = photo.cut.quad if photo.cut else None
        crop = crop_quad(picture, quad, self._size) if quad else self._square(picture)
        landmarks = locate(crop, self._locator)
        scores = {}
        if self._check and not photo.trusted:
            scores["misalignment"] = misalignment(landmarks)
        return [LoadedFace(crop, quad, landmarks, pixel_digest(crop), scores)]

    def _square(self, picture: U8Image) -> U8Image:
        height, width = picture.shape[:2]
        if abs(height - width) > 0.01 * max(height, width):
            raise PhotoError(
                "not-aligned", f"the picture is {width} x {height}, not a square face crop; run with --align"
            )
        return resize_u8(picture, self._size, self._size)


def build_align_reader(spec: AlignSpec, config: StoreConfig) -> PhotoReader:
    """The reader of `align`: crops only."""
    aligner = build_aligner(spec, WeightStore(config))

    def align(picture: U8Image) -> list[LoadedFace]:
        return [LoadedFace(face.crop, face.quad, scores={"detector": face.score}) for face in aligner(picture)]

    return PhotoReader(SearchedFaces(align))


def build_invert_reader(spec: InvertSpec, config: StoreConfig) -> PhotoReader:
    """The reader of `invert` and `edit`: crops with 68 landmarks and the hash of their pixels."""
    store = WeightStore(config)
    locator = detectors.get("dlib").build(store)
    if not spec.align:
        return PhotoReader(GivenFaces(spec.size, locator, check=not spec.aligned))
    aligner = build_aligner(spec, store)

    def align(picture: U8Image) -> list[LoadedFace]:
        faces = []
        for face in aligner(picture):
            landmarks = _all_68(face, locator)
            digest = pixel_digest(face.crop)
            faces.append(LoadedFace(face.crop, face.quad, landmarks, digest, {"detector": face.score}))
        return faces

    return PhotoReader(SearchedFaces(align))


def _all_68(face: AlignedFace, locator: FaceFinder) -> F32Array:
    """The methods want 68 landmarks: measured, not spread from 5, wherever the crop's face is found again."""
    if face.landmarks.shape[0] == 68:
        return face.landmarks
    found = locate(face.crop, locator)
    return spread_68(face.landmarks) if np.isnan(found).any() else found


def reader_weights(spec: AlignSpec) -> tuple[str, ...]:
    """The catalogue entries that a run's reader needs, without loading anything."""
    if not isinstance(spec, InvertSpec):
        return detectors.get(spec.detector).entries
    return tuple(dict.fromkeys((*(detectors.get(spec.detector).entries if spec.align else ()), LANDMARKS)))
