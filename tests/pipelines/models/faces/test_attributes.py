"""Attribute measures on a face that is turned and moved by code, and the meter with parts that are easy to predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.models.faces.attributes import _MODEL, _RIGID, MEASURED, AttributeMeter, landmark_attributes
from pipelines.types import F32Array, Face, U8Image

LEFT_RIGHT = (
    *(
        *range(16, -1, -1),
        *range(26, 16, -1),
        27,
        28,
        29,
        30,
        35,
        34,
        33,
        32,
        31,
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
        36,
    ),
    *(41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)


def face3d(width: float = 1.0, lift: float = 0.0, gap: float = 0.0, lids: float = 0.12) -> np.ndarray:
    """68 x 3 points of a face at rest in eye distances, y down, z to the viewer; only what is measured is shaped."""
    points = np.zeros((68, 3))
    points[list(_RIGID)] = _MODEL
    for outer, inner, upper, lower in ((36, 39, (37, 38), (41, 40)), (45, 42, (44, 43), (46, 47))):
        for share, top, bottom in ((1 / 3, upper[0], lower[0]), (2 / 3, upper[1], lower[1])):
            middle = points[outer] * (1 - share) + points[inner] * share
            points[top], points[bottom] = middle - (0, lids / 2, 0), middle + (0, lids / 2, 0)
    for index in (51, 57, 50, 52, 56, 58, *range(60, 68)):
        points[index] = (0, 1.15, 0.15)
    points[[61, 62, 63], 1] -= gap / 2
    points[[65, 66, 67], 1] += gap / 2
    points[48], points[54] = (-width / 2, 1.15 - lift, 0), (width / 2, 1.15 - lift, 0)
    return points


def seen(points: np.ndarray, yaw: float = 0, pitch: float = 0, roll: float = 0, size: float = 0.25) -> F32Array:
    """Orthographic picture of the points, in shares of the side; degrees, the signs of `landmark_attributes`."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    turn_y = np.array(((math.cos(y), 0, math.sin(y)), (0, 1, 0), (-math.sin(y), 0, math.cos(y))))
    turn_p = np.array(((1, 0, 0), (0, math.cos(p), -math.sin(p)), (0, math.sin(p), math.cos(p))))
    turn_r = np.array(((math.cos(r), -math.sin(r), 0), (math.sin(r), math.cos(r), 0), (0, 0, 1)))
    return ((points @ (turn_r @ turn_y @ turn_p).T)[:, :2] * size + (0.5, 0.45)).astype(np.float32)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-25, 0), (0, 20), (0, -20), (20, -10)])
def test_pose_is_recovered_with_its_sign(yaw: float, pitch: float) -> None:
    found = landmark_attributes(seen(face3d(), yaw, pitch))
    assert found["pitch"] == pytest.approx(pitch, abs=0.1)
    assert found["yaw"] == pytest.approx(yaw, abs=0.1)


def test_signs_without_any_trigonometry() -> None:
    frontal = seen(face3d())
    right, up = frontal.copy(), frontal.copy()
    right[27:36, 0] += 0.03
    up[28:34, 1] -= 0.02
    assert landmark_attributes(right)["yaw"] > 5
    assert landmark_attributes(up)["pitch"] > 3


@pytest.mark.parametrize("turn", [{"yaw": 20}, {"pitch": 12}, {"pitch": -12}, {"roll": 25}, {"size": 0.4}])
def test_expression_is_read_through_the_heads_turn(turn: dict[str, float]) -> None:
    points = face3d(width=1.1, lift=0.1, gap=0.15, lids=0.1)
    frontal, turned = landmark_attributes(seen(points)), landmark_attributes(seen(points, **turn))
    assert frontal["smile"] == pytest.approx(1.1 + 2 * 0.1, abs=1e-3)
    assert frontal["mouth_open"] == pytest.approx(0.15, abs=1e-3)
    assert frontal["eyes_open"] == pytest.approx(0.1, abs=1e-3)
    assert turned["smile"] == pytest.approx(frontal["smile"], abs=0.05)
    assert turned["mouth_open"] == pytest.approx(0.15, abs=0.02)
    assert turned["eyes_open"] == pytest.approx(0.1, abs=0.02)


def test_each_measure_follows_its_own_change_only() -> None:
    rest = landmark_attributes(seen(face3d()))
    for change, name in (
        ({"width": 1.2}, "smile"),
        ({"lift": 0.1}, "smile"),
        ({"gap": 0.2}, "mouth_open"),
        ({"lids": 0.2}, "eyes_open"),
    ):
        found = landmark_attributes(seen(face3d(**change)))
        assert found[name] > rest[name] + 0.05
        for other in set(rest) - {name}:
            assert found[other] == pytest.approx(rest[other], abs=1e-3)


def test_a_mirrored_face_has_the_opposite_yaw_and_all_else_equal() -> None:
    landmarks = seen(face3d(lift=0.05, gap=0.1), yaw=18, pitch=7, roll=5)
    mirrored = landmarks.copy()
    mirrored[:, 0] = 1 - mirrored[:, 0]
    found, other = landmark_attributes(landmarks), landmark_attributes(mirrored[list(LEFT_RIGHT)])
    assert other["yaw"] == pytest.approx(-found["yaw"], abs=1e-3)
    for name in set(found) - {"yaw"}:
        assert other[name] == pytest.approx(found[name], abs=1e-4)


def test_missing_landmarks_give_nan() -> None:
    found = landmark_attributes(np.full((68, 2), np.nan, np.float32))
    assert tuple(found) == MEASURED[:5]
    assert all(math.isnan(value) for value in found.values())


# Photos of the aligned studio set, chosen by eye before anything was measured.
SMILING = ("000001", "000068", "000150", "000178", "000218", "000443", "000540", "000581", "000713", "000883", "000983")
SERIOUS = ("000044", "000162", "000274", "000383", "000458", "000476", "000496", "000551", "000563", "000628", "000647")


class _Finder:
    """Finds a face in pictures that are not black; remembers the sizes that it was shown."""

    name = version = "test"

    def __init__(self, points: int = 68) -> None:
        self.sides: list[int] = []
        self._points = points

    def find(self, image: U8Image) -> list[Face]:
        self.sides.append(max(image.shape[:2]))
        if not image.any():
            return []
        landmarks = seen(face3d(lift=0.1), yaw=10)[: self._points] * np.float32(image.shape[0])
        return [Face((0, 0, 1, 1), 1.0, landmarks)]


class _Gender:
    """Gives the mean level of the chips, so that a mixed-up order shows."""

    def measure(self, chips: Sequence[U8Image]) -> F32Array:
        assert all(chip.shape == (32, 32, 3) for chip in chips)
        return np.array([chip.max() for chip in chips], np.float32)


class _Years:
    """Gives the mean level of the pictures."""

    def measure(self, images: Sequence[U8Image], landmarks: Sequence[F32Array]) -> F32Array:
        assert all(points.shape == (68, 2) for points in landmarks)
        return np.array([image.max() for image in images], np.float32)


def test_meter_keeps_the_order_and_marks_pictures_without_a_face() -> None:
    finder = _Finder()
    levels = (200, 0, 100)
    pictures = [np.full((side, side, 3), level, np.uint8) for side, level in zip((1024, 256, 256), levels, strict=True)]
    found = AttributeMeter(finder, _Gender(), _Years()).measure(pictures)  # type: ignore[arg-type]
    assert tuple(found) == MEASURED[:-1]  # no network of glasses was given
    assert all(values.shape == (3,) and values.dtype == np.float32 for values in found.values())
    assert all(np.isnan(values).tolist() == [False, True, False] for values in found.values())
    assert found["age"][[0, 2]].tolist() == [200, 100]
    assert found["gender"][[0, 2]].tolist() == [15, 15]  # cut: beyond being sure it says nothing more
    np.testing.assert_allclose(found["yaw"][[0, 2]], 10, atol=0.2)
    np.testing.assert_allclose(found["smile"][0], found["smile"][2], atol=1e-3)
    assert max(finder.sides) <= 448


def test_meter_without_any_face_or_picture() -> None:
    meter = AttributeMeter(_Finder(), _Gender(), _Years())  # type: ignore[arg-type]
    assert np.isnan(meter.measure([np.zeros((64, 64, 3), np.uint8)])["age"]).all()
    assert meter.measure([])["smile"].shape == (0,)


def test_a_finder_with_five_points_is_refused() -> None:
    meter = AttributeMeter(_Finder(points=5), _Gender(), _Years())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="68 landmarks"):
        meter.measure([np.full((64, 64, 3), 9, np.uint8)])


@pytest.mark.weights
def test_smiles_of_real_photos_rank_above_serious_faces(shared: Path, store) -> None:  # type: ignore[no-untyped-def]
    """Photos sorted by eye: broad smiles with teeth, and closed, serious mouths."""
    import tarfile

    from pipelines.images.pixels import decode
    from pipelines.models.faces.agegender import DlibGender
    from pipelines.models.faces.finders import DlibFinder
    from pipelines.models.faces.years import YEARS_ASSET, load_years

    with tarfile.open(shared / "photos" / "train-256" / "studio.tar") as archive:
        pictures = {name: archive.extractfile(f"{name}.jpg").read() for name in (*SMILING, *SERIOUS)}  # type: ignore[union-attr]
    meter = AttributeMeter(
        DlibFinder(store.path("landmarks-68")),
        DlibGender(store.path("gender-dlib")),
        load_years(store.tensors(YEARS_ASSET)),
    )
    smile = meter.measure([decode(data) for data in pictures.values()])["smile"]
    assert np.nanmin(smile[: len(SMILING)]) > np.nanmax(smile[len(SMILING) :])
