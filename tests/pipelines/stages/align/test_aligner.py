"""Aligning with a finder that says what it is told, and with the real one on real photos."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import PhotoError
from pipelines.images.geometry import crop_quad, ffhq_quad, side
from pipelines.images.pixels import decode, resize_u8
from pipelines.models.faces.finders import DlibFinder
from pipelines.stages.align.aligner import ALIGNED_LIMIT, Aligner, locate, misalignment
from pipelines.types import Face, U8Image
from pipelines.weights.store import WeightStore
from tests.fakes.photos import scene

# Five points whose FFHQ square is the frame itself, as shares of the side: |u| = 0.25, m = 0.2 downwards.
FRAMED = np.array([[0.375, 0.48], [0.625, 0.48], [0.5, 0.6], [0.42, 0.68], [0.58, 0.68]])


def face_at(left: float, top: float, length: float, score: float = 1.0) -> Face:
    """A face whose FFHQ square has its top-left pixel edge at (left, top)."""
    points = (FRAMED * length + (left, top) - 0.5).astype(np.float32)
    return Face((left, top, left + length / 2, top + length / 2), score, points)


class Told:
    """A finder that returns the faces it was given, scaled to the picture that it sees."""

    name, version = "told", "1"

    def __init__(self, *faces: Face, width: int = 300) -> None:
        self.faces, self.width = faces, width

    def find(self, image: U8Image) -> list[Face]:
        factor = image.shape[1] / self.width
        return [
            Face(face.box, face.score, ((face.landmarks + 0.5) * factor - 0.5).astype(np.float32))
            for face in self.faces
        ]


PHOTO = scene(300, 200)


def test_crop_quad_and_landmarks_belong_together() -> None:
    (face,) = Aligner(Told(face_at(60, 30, 128)), size=64)(PHOTO)
    assert face.quad is not None
    np.testing.assert_allclose(face.quad, [(59.5, 29.5), (59.5, 157.5), (187.5, 157.5), (187.5, 29.5)], atol=1e-3)
    np.testing.assert_allclose(face.landmarks, FRAMED, atol=1e-5)
    assert face.crop.shape == (64, 64, 3)
    assert np.abs(face.crop.astype(int) - resize_u8(PHOTO[30:158, 60:188], 64, 64)).max() <= 2
    assert misalignment(face.landmarks) < 1e-5


def test_largest_or_all() -> None:
    finder = Told(face_at(100, 20, 120), face_at(10, 20, 60), face_at(220, 20, 50))
    assert len(Aligner(finder, size=32)(PHOTO)) == 1
    widths = [side(face.quad) for face in Aligner(finder, size=32, faces="all")(PHOTO) if face.quad]
    assert widths == pytest.approx([120, 60, 50], rel=1e-4)


def test_the_largest_square_comes_first_whatever_the_finders_order() -> None:
    """Detectors' boxes come in few sizes, so that faces of different size tie; their landmarks tell."""
    finder = Told(face_at(10, 20, 60), face_at(100, 20, 120), face_at(220, 20, 50))
    (face,) = Aligner(finder, size=32)(PHOTO)
    assert side(face.quad or ()) == pytest.approx(120, rel=1e-4)


def test_scores_and_sizes_filter() -> None:
    finder = Told(face_at(100, 20, 120, score=0.2), face_at(10, 20, 60, score=0.9))
    (face,) = Aligner(finder, size=32, min_score=0.5)(PHOTO)
    assert (face.score, side(face.quad or ())) == (0.9, pytest.approx(60, rel=1e-4))
    assert len(Aligner(finder, size=32, faces="all", min_size=100)(PHOTO)) == 1
    with pytest.raises(PhotoError, match="120 px") as caught:
        Aligner(finder, min_size=121)(PHOTO)
    assert caught.value.code == "face-too-small"
    with pytest.raises(PhotoError) as caught:
        Aligner(finder, min_score=0.95)(PHOTO)
    assert caught.value.code == "no-face"


def test_no_face_and_false_finds() -> None:
    point = Face((0.0, 0.0, 9.0, 9.0), 1.0, np.zeros((5, 2), np.float32))
    for finder in (Told(), Told(face_at(900, 900, 50)), Told(point)):
        with pytest.raises(PhotoError) as caught:
            Aligner(finder)(PHOTO)
        assert caught.value.code == "no-face"


def test_aligned_crop_is_kept_as_it_is() -> None:
    crop = scene(300, 300)
    nearly = Told(face_at(3, -4, 296))
    (face,) = Aligner(nearly, size=150)(crop)
    assert face.quad is None
    assert (face.crop == resize_u8(crop, 150, 150)).all()
    (again,) = Aligner(nearly, size=150, keep_aligned=False)(crop)
    assert again.quad is not None
    (loose,) = Aligner(Told(face_at(40, 40, 200)), size=150)(crop)
    assert loose.quad is not None


def test_misalignment_measures_the_worst_corner() -> None:
    assert misalignment(FRAMED.astype(np.float32)) < 1e-6
    moved = (FRAMED + np.array([0.03, 0.04])).astype(np.float32)
    assert misalignment(moved) == pytest.approx(0.05, abs=1e-5)
    grown = ((FRAMED - 0.5) * 1.2 + 0.5).astype(np.float32)
    assert misalignment(grown) == pytest.approx(0.1 * math.sqrt(2), abs=1e-5)
    assert misalignment(np.full((68, 2), np.nan, np.float32)) == math.inf


def test_locate_gives_shares_of_the_whole_crop() -> None:
    landmarks = locate(scene(1024, 1024), Told(face_at(30, 60, 240)))
    assert landmarks.shape == (68, 2)
    np.testing.assert_allclose(landmarks[[36, 45, 30, 48, 54]], FRAMED * 0.8 + (0.1, 0.2), atol=1e-4)
    assert np.isnan(locate(PHOTO, Told())).all()


def test_only_a_square_is_aligned_already() -> None:
    (kept,) = Aligner(Told(face_at(0, 0, 300)), size=150)(scene(300, 300))
    assert kept.quad is None
    (cut,) = Aligner(Told(face_at(0, 0, 300)), size=150)(scene(300, 310))
    assert cut.quad is not None


@pytest.fixture(scope="module")
def dlib(store: WeightStore) -> DlibFinder:
    return DlibFinder(store.path("landmarks-68"))


@pytest.mark.weights
def test_papers_crops_look_aligned_and_photos_do_not(dlib: DlibFinder, shared: Path) -> None:
    photos = sorted(path for path in (shared / "photos/eval").iterdir() if path.suffix != ".md")
    aligned = [*range(9), 10, 11, 12, 18, 19, 20, 21, 25, 26, 31]  # 09: a hood hides that face from the detector
    pictures = [decode(path.read_bytes()) for path in photos]
    square = [index for index, image in enumerate(pictures) if abs(image.shape[0] / image.shape[1] - 1) <= 0.01]
    assert [at for at in square if misalignment(locate(pictures[at], dlib)) <= ALIGNED_LIMIT] == aligned


@pytest.mark.weights
@pytest.mark.parametrize(("start", "limit"), [("14", 0.1), ("33", 0.1), ("16", 0.1), ("44", 0.15)])
def test_what_align_cuts_is_aligned(dlib: DlibFinder, shared: Path, start: str, limit: float) -> None:
    """RGBA, EXIF-turned, small, half cut off by the border: found again in its crop, the face is where it should be."""
    image = decode(next((shared / "photos/eval").glob(f"{start}*")).read_bytes())
    (face,) = Aligner(dlib, size=512)(image)
    assert face.quad is not None
    assert misalignment(locate(face.crop, dlib)) < limit
    assert np.median(np.abs(locate(face.crop, dlib) - face.landmarks)) < 0.02


@pytest.mark.weights
def test_tilted_photo_is_set_upright(dlib: DlibFinder, shared: Path) -> None:
    image = decode(next((shared / "photos/eval").glob("24*")).read_bytes())
    height, width = image.shape[:2]
    middle, angle = np.array([width / 2, height / 2]), math.radians(18)
    across = np.array([math.cos(angle), math.sin(angle)]) * width * 0.6
    down = np.array([-across[1], across[0]])
    corners = [middle - across - down, middle - across + down, middle + across + down, middle + across - down]
    tilted = crop_quad(image, np.stack(corners), 700)
    crops = [Aligner(dlib, size=256)(picture)[0].crop.astype(float) for picture in (image, tilted)]
    inner = slice(64, 192)
    assert np.corrcoef(*[crop[inner, inner].ravel() for crop in crops])[0, 1] > 0.93
    assert ffhq_quad(dlib.find(tilted)[0].landmarks)[3, 1] < ffhq_quad(dlib.find(tilted)[0].landmarks)[0, 1] - 20
