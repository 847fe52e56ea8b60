"""Face finders on made pictures (no weights) and on real photos (with weights)."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import UsageError, WeightsError
from pipelines.images.geometry import ffhq_quad, side
from pipelines.images.pixels import decode, resize_u8
from pipelines.models.faces.finders import DlibFinder, RetinaFinder, _retinaface, in_order, scaled_copy
from pipelines.types import Face, U8Image
from pipelines.weights.store import WeightStore
from tests.fakes.photos import scene

POINTS = np.zeros((5, 2), np.float32)


@pytest.fixture(scope="module")
def dlib(store: WeightStore) -> DlibFinder:
    return DlibFinder(store.path("landmarks-68"))


@pytest.fixture(scope="module")
def retina(store: WeightStore, shared: Path) -> RetinaFinder:
    """Of `shared`'s mirror: no package of an index has these weights."""
    return RetinaFinder(store.tensors("retinaface-mobile0.25"), "mobile0.25")


def photo(shared: Path, start: str) -> U8Image:
    return decode(next((shared / "photos/eval").glob(f"{start}*")).read_bytes())


def test_order_is_size_then_place() -> None:
    boxes = [(50, 0, 60, 10), (0, 5, 10, 15), (0, 0, 20, 20), (5, 0, 15, 10)]
    faces = [Face(tuple(map(float, box)), 1.0, POINTS) for box in boxes]  # type: ignore[arg-type]
    expected = [(0, 0, 20, 20), (5, 0, 15, 10), (50, 0, 60, 10), (0, 5, 10, 15)]
    assert [face.box for face in in_order(faces)] == expected
    assert [face.box for face in in_order(faces[::-1])] == expected


@pytest.mark.parametrize("longest", [31, 100, 333, 500, 1000])
def test_scaled_copy_keeps_places(longest: int) -> None:
    """A bright square's centre, found in the copy, scales back to where it was: no drift from rounded sizes."""
    picture = np.zeros((377, 500, 3), np.uint8)
    picture[300:340, 410:450] = 255
    copy, factors = scaled_copy(picture, longest)
    assert max(copy.shape) == longest
    weights = copy[:, :, 0].astype(float)
    centre = np.array(
        [(np.arange(n) + 0.5) @ weights.sum(axis) for axis, n in ((0, copy.shape[1]), (1, copy.shape[0]))]
    )
    assert np.abs(centre / weights.sum() * factors - (430, 320)).max() < 0.05 * factors.max()


def test_wrong_predictor_file_is_a_weights_error(tmp_path: Path) -> None:
    path = tmp_path / "points.dat"
    path.write_bytes(b"not a predictor")
    for wrong in (path, tmp_path / "missing.dat"):
        with pytest.raises(WeightsError, match=str(wrong)):
            DlibFinder(wrong).find(scene())


def test_retina_builds_silently_and_checks_its_weights(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    state = _retinaface("mobile0.25", torch.device("cpu")).state_dict()
    finder = RetinaFinder({f"module.{key}": value for key, value in state.items()}, "mobile0.25", threshold=0.999)
    assert finder.find(scene(200, 150)) == []
    assert finder.find(np.zeros((40, 30000, 3), np.uint8)) == []
    assert capfd.readouterr() == ("", "")
    with pytest.raises(WeightsError, match=r"not RetinaFace mobile0\.25"):
        RetinaFinder({"module.body.x": torch.zeros(1)}, "mobile0.25")
    with pytest.raises(ValueError, match="resnet50"):
        RetinaFinder({}, "vgg")


def test_retina_order_and_scale_do_not_depend_on_the_network() -> None:
    """Rows of box, score and points in the copy's pixels become the picture's, points counted from pixel centres."""
    row = np.array([10, 20, 30, 50, 0.9, *range(10)], np.float64)
    face = RetinaFinder._face(row, np.array([2.0, 2.0]))
    assert face.box == (20.0, 40.0, 60.0, 100.0)
    assert face.score == 0.9
    np.testing.assert_allclose(face.landmarks[:2], [[-0.5, 1.5], [3.5, 5.5]])


@pytest.mark.weights
def test_dlib_survives_pickling_and_repeats_itself(dlib: DlibFinder, shared: Path) -> None:
    image = photo(shared, "48")
    faces = dlib.find(image)
    again = pickle.loads(pickle.dumps(dlib)).find(image)
    assert len(faces) >= 2
    assert all(a.box == b.box and (a.landmarks == b.landmarks).all() for a, b in zip(faces, again, strict=True))
    areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.weights
@pytest.mark.parametrize("start", ["00", "14", "16", "24", "33", "42", "51"])
def test_both_finders_give_nearly_the_same_crop(
    dlib: DlibFinder, retina: RetinaFinder, shared: Path, start: str
) -> None:
    image = photo(shared, start)
    dense, sparse = dlib.find(image)[0], retina.find(image)[0]
    assert dense.landmarks.shape == (68, 2)
    assert sparse.landmarks.shape == (5, 2)
    quads = ffhq_quad(dense.landmarks), ffhq_quad(sparse.landmarks)
    assert np.hypot(*(quads[0] - quads[1]).T).max() < 0.07 * side(quads[0])


@pytest.mark.weights
def test_landmarks_follow_the_photos_scale(dlib: DlibFinder, shared: Path) -> None:
    image = photo(shared, "24")
    small = ffhq_quad(dlib.find(image)[0].landmarks)
    large = ffhq_quad(dlib.find(resize_u8(image, image.shape[1] * 4, image.shape[0] * 4))[0].landmarks)
    assert np.hypot(*((large + 0.5) / 4 - 0.5 - small).T).max() < 0.03 * side(small)


@pytest.mark.weights
def test_small_faces_are_found_on_the_second_look(dlib: DlibFinder, shared: Path) -> None:
    """Faces of 60 px: below the detector's window at first sight."""
    portrait = photo(shared, "24")
    room = np.full((480, 640, 3), 90, np.uint8)
    room[100:212, 200:290] = resize_u8(portrait, 90, 112)
    box = dlib.find(room)[0].box
    assert 200 < box[0] < box[2] < 290
    assert box[2] - box[0] < 70


@pytest.mark.weights
@pytest.mark.parametrize("start", ["00", "24", "33", "51"])
def test_a_small_copy_first_finds_the_same_face(dlib: DlibFinder, shared: Path, start: str) -> None:
    image = photo(shared, start)
    usual = ffhq_quad(dlib.find(image)[0].landmarks)
    quick = ffhq_quad(DlibFinder(dlib.predictor_path, first_side=640).find(image)[0].landmarks)
    assert np.hypot(*(usual - quick).T).max() < 0.06 * side(usual)


@pytest.mark.weights
def test_what_the_small_copy_lacks_is_searched_as_ever(dlib: DlibFinder, shared: Path) -> None:
    room = np.full((1600, 2000, 3), 90, np.uint8)
    room[500:750, 800:1000] = resize_u8(photo(shared, "24"), 200, 250)
    usual, quick = dlib.find(room), DlibFinder(dlib.predictor_path, first_side=640).find(room)
    assert [face.box for face in usual] == [face.box for face in quick]
    assert len(usual) == 1


def test_missing_system_libraries_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facexlib.detection.retinaface", None)  # what an import error leaves behind
    with pytest.raises(UsageError, match=r"libgl1.*--detector dlib"):
        RetinaFinder({})


@pytest.mark.weights
def test_no_face_in_a_landscape(dlib: DlibFinder, retina: RetinaFinder) -> None:
    assert dlib.find(scene(640, 480)) == []
    assert retina.find(scene(640, 480)) == []
    assert dlib.find(np.zeros((40, 30000, 3), np.uint8)) == []
