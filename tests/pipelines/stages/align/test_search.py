"""The thorough search on a real face: turned, tilted, small, large photos, and what is no face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import PhotoError
from pipelines.images.geometry import crop_quad, ffhq_quad, side
from pipelines.images.pixels import decode, resize_u8
from pipelines.models.faces.yunet import YuNetFinder
from pipelines.stages.align.aligner import AlignedFace, Aligner, shows
from pipelines.stages.align.search import Search
from pipelines.stages.align.select import ordinal
from pipelines.types import Face, U8Image
from pipelines.weights.assets import packed_path

QUAD = ((52.7, 6.3), (50.4, 70.9), (115.1, 73.2), (117.4, 8.6))  # of the face, by dlib
FACE = crop_quad(decode((Path(__file__).parents[3] / "golden" / "astronaut.png").read_bytes()), QUAD, 192)
SEARCH = Search(YuNetFinder(packed_path("yunet.onnx")))


class Nothing:
    """A finder that finds what it is told to."""

    name, version = "quick", "1"

    def __init__(self, *faces: Face) -> None:
        self.faces = faces

    def find(self, image: U8Image) -> list[Face]:
        return list(self.faces)


def photo(width: int = 400, height: int = 300, left: int = 120, top: int = 40, size: int = 192) -> U8Image:
    """Grey, with one face."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[top : top + size, left : left + size] = resize_u8(FACE, size, size)
    return picture


def aligned(picture: U8Image, *found: Face, sure: float = np.inf) -> AlignedFace:
    return Aligner(Nothing(*found), size=96, search=SEARCH, sure=sure)(picture)[0]


def likeness(crop: U8Image) -> float:
    """Correlation with the upright face."""
    return float(np.corrcoef(crop.ravel(), resize_u8(FACE, 96, 96).ravel())[0, 1])


@pytest.mark.parametrize(("turn", "way"), [(0, "yunet enlarged"), (1, "yunet turned 90 enlarged"), (2, ""), (3, "")])
def test_a_turned_photo_gives_an_upright_crop(turn: int, way: str) -> None:
    face = aligned(np.ascontiguousarray(np.rot90(photo(), turn)))
    assert face.way == (way or f"yunet turned {90 * turn} enlarged")
    assert likeness(face.crop) > 0.9


def test_a_tilted_face_is_set_upright() -> None:
    tilted = np.asarray(Image.fromarray(photo()).rotate(40, Image.Resampling.BICUBIC, expand=True))
    assert likeness(aligned(tilted).crop) > 0.75  # half the tilt left gives 0.5


def test_small_faces_are_found_in_tiles_and_enlarged() -> None:
    wide = aligned(photo(3000, 400, 2500, 60, 90))
    assert "tiles" in wide.way
    assert np.mean(np.asarray(wide.quad)[:, 0]) == pytest.approx(2500 + 44.5, abs=15)
    small = aligned(photo(120, 72, 40, 10, 50))
    assert small.way == "yunet enlarged"
    assert side(small.quad or ()) == pytest.approx(50, rel=0.25)


def test_what_the_detector_has_upside_down_is_turned_and_what_is_no_face_is_refused() -> None:
    upright = SEARCH.find(photo())[0][0]
    wrong = Face(upright.box, 0.9, upright.landmarks.mean(0) * 2 - upright.landmarks)  # turned about its middle
    assert likeness(aligned(photo(), wrong).crop) > 0.9
    elsewhere = Face(upright.box, 0.9, (upright.landmarks - upright.landmarks[2]) * 0.3 + np.float32(30))
    blank = np.full((300, 400, 3), 128, np.uint8)
    with pytest.raises(PhotoError) as caught:
        aligned(blank, elsewhere)
    assert caught.value.code == "no-face"
    trusted = aligned(blank, elsewhere, sure=0.5)  # a detector that is sure of it is not asked again
    assert trusted.way == "quick"


def test_one_face_found_twice_is_one() -> None:
    face = SEARCH.find(photo())[0][0]
    near = Face(face.box, 0.95, face.landmarks + np.float32(9))
    assert len(Aligner(Nothing(face, near), size=32, faces="all", search=SEARCH)(photo())) == 1


def test_a_chin_and_a_forehead_are_no_faces() -> None:
    points = SEARCH.find(photo())[0][0].landmarks
    assert shows(points, photo())
    assert not shows(points - (0, points[0, 1] + 3), photo())  # above the photo: the eyes
    assert not shows(points + (0, 300 - points[3, 1] + 1), photo())  # below it: the mouth
    assert shows(points - (points[2, 0], 0), photo())  # half a face, cut at the nose
    assert not shows(points - (points[1, 0] + 3, 0), photo())
    assert not shows(np.zeros((5, 2), np.float32), photo())
    chin = photo()[int(points[:2, 1].mean() + 0.1 * side(ffhq_quad(points))) :]
    with pytest.raises(PhotoError, match="no face"):
        aligned(np.ascontiguousarray(chin))


def two(left: int = 10, right: int = 260) -> U8Image:
    """A small face on the left, a large one on the right."""
    picture = np.full((300, 500, 3), 128, np.uint8)
    picture[40:160, left : left + 120] = resize_u8(FACE, 120, 120)
    picture[40:232, right : right + 192] = FACE
    return picture


@pytest.mark.parametrize(("name", "middle"), [("largest", 355), ("left", 70), ("right", 355), ("0", 355), ("1", 70)])
def test_one_face_is_chosen_by_its_place(name: str, middle: float) -> None:
    (face,) = Aligner(Nothing(), size=32, search=SEARCH, choose=ordinal(name))(two())
    assert np.mean(np.asarray(face.quad)[:, 0]) == pytest.approx(middle, abs=15)


def test_a_number_that_no_face_has_is_that_photos_trouble() -> None:
    with pytest.raises(PhotoError, match="2 faces") as caught:
        Aligner(Nothing(), size=32, search=SEARCH, choose=ordinal("2"))(two())
    assert caught.value.code == "no-such-face"


def test_a_margin_makes_the_crop_wider_about_the_same_middle() -> None:
    plain = aligned(photo())
    (wide,) = Aligner(Nothing(), size=96, search=SEARCH, margin=0.25)(photo())
    assert side(wide.quad or ()) == pytest.approx(1.5 * side(plain.quad or ()), rel=1e-6)
    np.testing.assert_allclose(np.mean(wide.quad or (), 0), np.mean(plain.quad or (), 0), atol=1e-3)
    np.testing.assert_allclose(wide.landmarks, (plain.landmarks - 0.5) / 1.5 + 0.5, atol=1e-4)
