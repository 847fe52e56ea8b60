"""YuNet, which travels inside the package, on a real face."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import WeightsError
from pipelines.images.geometry import crop_quad, ffhq_quad, side
from pipelines.images.pixels import decode, resize_u8
from pipelines.models.faces.yunet import YuNetFinder
from pipelines.types import U8Image
from pipelines.weights.assets import packed_path

QUAD = ((52.7, 6.3), (50.4, 70.9), (115.1, 73.2), (117.4, 8.6))  # of the face, by dlib
FACE = crop_quad(decode((Path(__file__).parents[3] / "golden" / "astronaut.png").read_bytes()), QUAD, 192)
FINDER = YuNetFinder(packed_path("yunet.onnx"))


def canvas(width: int, height: int, *places: tuple[int, int]) -> U8Image:
    """Grey, with the face's upper left corner at each place."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for left, top in places:
        picture[top : top + 192, left : left + 192] = FACE
    return picture


def test_landmarks_make_the_square_that_the_face_was_cut_by() -> None:
    (face,) = FINDER.find(FACE)
    assert face.score > 0.8
    np.testing.assert_allclose(ffhq_quad(face.landmarks)[[0, 2]], [(-0.5, -0.5), (191.5, 191.5)], atol=0.1 * 192)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_a_face_is_found_where_it_is_in_photos_of_every_size() -> None:
    photo = canvas(1300, 700, (40, 30), (800, 400))
    faces = FINDER.find(photo)
    assert len(faces) == 2
    middles = sorted(float(np.mean(ffhq_quad(face.landmarks)[:, 0])) for face in faces)
    assert middles == pytest.approx([40 + 95.5, 800 + 95.5], abs=20)
    assert all(abs(side(ffhq_quad(face.landmarks)) - 192) < 40 for face in faces)
    assert FINDER.find(np.full((300, 50, 3), 90, np.uint8)) == []


def test_a_threshold_keeps_what_is_above_it() -> None:
    window = canvas(400, 300, (100, 50))
    (face,) = FINDER.look(window)
    assert FINDER.look(window, face.score + 0.01) == []
    with pytest.raises(ValueError, match="640"):
        FINDER.look(canvas(641, 300))


def test_a_finder_travels_and_a_wrong_file_is_named(tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(FINDER))
    assert again.find(FACE)[0].box == FINDER.find(FACE)[0].box
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"x\.onnx"):
        YuNetFinder(tmp_path / "x.onnx").find(resize_u8(FACE, 64, 64))
