"""The FFHQ square against its definition, crops against supersampling, borders, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.images.geometry import (
    F64Array,
    crop_quad,
    ffhq_quad,
    photo_to_crop,
    side,
    spread_68,
    to_crop,
)
from pipelines.types import U8Image

EYES = np.array([[100.0, 200.0], [160.0, 200.0], [130.0, 240.0], [110.0, 270.0], [150.0, 270.0]], np.float32)


def square(centre: tuple[float, float], length: float, degrees: float = 0.0) -> F64Array:
    angle = math.radians(degrees)
    across = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    down = np.array([-across[1], across[0]])
    middle = np.array(centre)
    return np.stack([middle - across - down, middle - across + down, middle + across + down, middle + across - down])


def texture(width: int, height: int, seed: int = 0) -> U8Image:
    """Detail at many scales, with edges: blurred noise of several widths."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cell in (2, 5, 13, 40):
        noise = random.integers(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
        total += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), float)
    return np.rint(total / 4).astype(np.uint8)


def psnr(image: U8Image, other: U8Image) -> float:
    error = np.mean((image.astype(float) - other) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_square_of_an_upright_face_by_hand() -> None:
    # e = (130, 200), u = (60, 0), m = (0, 70): u - rot90(m) = (130, 0), length max(120, 126), centre (130, 207).
    expected = square((130, 207), 252)
    np.testing.assert_allclose(ffhq_quad(EYES), expected, atol=1e-4)
    assert side(ffhq_quad(EYES)) == pytest.approx(252)


def test_wide_eyes_set_the_size() -> None:
    points = EYES.copy()
    points[:2, 0] = (80, 180)
    assert side(ffhq_quad(points)) == pytest.approx(400)


def test_sixty_eight_points_give_the_square_of_their_five() -> None:
    points = np.random.default_rng(0).normal(size=(68, 2)) * 20 + 100
    points[36:42] += EYES[0]
    points[42:48] += EYES[1]
    points[[48, 54]] += EYES[3:5]
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    np.testing.assert_allclose(ffhq_quad(points), ffhq_quad(five), atol=1e-9)
    np.testing.assert_allclose(ffhq_quad(spread_68(EYES)), ffhq_quad(EYES), atol=1e-4)
    full = points.astype(np.float32)
    assert spread_68(full) is full


@given(st.floats(-180, 180), st.floats(0.1, 9), st.floats(-500, 500))
def test_square_turns_scales_and_moves_with_the_face(degrees: float, factor: float, shift: float) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * factor
    moved = EYES.astype(np.float64) @ turn.T + shift
    np.testing.assert_allclose(ffhq_quad(moved), ffhq_quad(EYES) @ turn.T + shift, atol=1e-6 * (factor * 1000 + 500))


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((68, 2), np.nan), np.zeros((6, 2))])
def test_landmarks_that_are_no_face_are_refused(points: F64Array) -> None:
    with pytest.raises(ValueError, match="landmarks"):
        ffhq_quad(points)


@given(st.floats(-180, 180), st.floats(1, 5000), st.tuples(st.floats(-300, 3000), st.floats(-300, 3000)))
def test_crop_coordinates_and_back(degrees: float, length: float, centre: tuple[float, float]) -> None:
    quad = square(centre, length, degrees)
    frame = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)
    np.testing.assert_allclose(to_crop(quad, quad), frame, atol=1e-6)
    assert side(quad) == pytest.approx(length)


def test_bad_quad_is_refused() -> None:
    with pytest.raises(ValueError, match="four finite corners"):
        side(((0.0, 0.0), (1.0, math.nan), (1.0, 1.0), (0.0, 1.0)))


def test_whole_pixel_crop_is_a_slice() -> None:
    """The convention in one test: a square from -0.5 to 63.5 around pixel centres is the pixels 0 to 63."""
    photo = texture(200, 180)
    quad = np.array([[39.5, 29.5], [39.5, 93.5], [103.5, 93.5], [103.5, 29.5]])
    assert (crop_quad(photo, quad, 64) == photo[30:94, 40:104]).all()
    corner = quad - quad[0] - 0.5
    assert (crop_quad(photo, corner, 64) == photo[:64, :64]).all(), "touching the border must not blur it"


@pytest.mark.parametrize("degrees", [0, 12, -40])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.4, 1.9, 2.7, 4.5])
def test_crop_agrees_with_eightfold_supersampling(scale: float, degrees: float) -> None:
    photo, size = texture(700, 640), 96
    quad = square((352.3, 311.7), size * scale, degrees)
    step = (to_crop_step(quad) / (size * 8)).round(12)
    numbers = (*step[0], quad[0, 0] + 0.5, *step[1], quad[0, 1] + 0.5)
    fine = Image.fromarray(photo).transform(
        (size * 8, size * 8), Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC
    )
    reference = np.array(fine.resize((size, size), Image.Resampling.LANCZOS))
    made = crop_quad(photo, quad, size)
    assert psnr(made[4:-4, 4:-4], reference[4:-4, 4:-4]) > 36
    # Moved by half a result pixel it must fit worse: the agreement is not a matter of blur.
    shifted = crop_quad(photo, quad + scale / 2, size)
    assert psnr(shifted[4:-4, 4:-4], reference[4:-4, 4:-4]) < psnr(made[4:-4, 4:-4], reference[4:-4, 4:-4]) - 6


def to_crop_step(quad: F64Array) -> F64Array:
    return np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1)


def test_fine_stripes_do_not_alias() -> None:
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    made = crop_quad(stripes, square((450, 450), 700, 7), 100)
    assert made[5:-5, 5:-5].std() < 6


def test_border_is_mirrored_then_blurred_then_plain() -> None:
    photo = texture(400, 400)
    quad = square((19.5, 199.5), 300)  # 130 px, 43 % of the side, lie left of the photo
    made = crop_quad(photo, quad, 300).astype(float)
    inside = photo[50:350, :170].astype(float)
    # The blur starts a third of the ramp inside (FFHQ's padding is 160 px here); beyond that the photo is untouched.
    assert np.abs(made[:, 130 + 60 :] - inside[:, 60 : 60 + 110]).max() <= 3
    mirrored = made[:, 129 - 20 : 129][:, ::-1]
    assert np.corrcoef(mirrored.ravel(), inside[:, :20].ravel())[0, 1] > 0.5
    detail = [np.abs(np.diff(made[:, start : start + 20], axis=0)).mean() for start in (2, 110, 250)]
    assert detail[0] < detail[1] < detail[2]
    assert np.abs(made[:, 0] - np.median(made, axis=(0, 1))).mean() < 20


def test_square_larger_than_the_photo_on_all_sides() -> None:
    photo = texture(80, 60)
    made = crop_quad(photo, square((40, 30), 400, 30), 128)
    assert made.shape == (128, 128, 3)
    assert made.std() > 1


def test_square_outside_the_photo_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        crop_quad(texture(80, 60), square((500, 500), 50), 64)
    with pytest.raises(ValueError, match="no area"):
        crop_quad(texture(80, 60), np.zeros((4, 2)), 64)


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.floats(3, 900), st.tuples(st.floats(0, 119), st.floats(0, 89)))
def test_any_square_around_a_point_of_the_photo_is_filled(
    degrees: float, length: float, centre: tuple[float, float]
) -> None:
    """A constant photo gives a constant crop: no black corner of Pillow's and no missing mirror anywhere."""
    photo = np.full((90, 120, 3), 137, np.uint8)
    assert np.abs(crop_quad(photo, square(centre, length, degrees), 32).astype(int) - 137).max() <= 1


def test_reading_a_crop_at_the_photos_pixels() -> None:
    photo = texture(300, 260)
    quad = square((150.2, 130.4), 200, 25)
    crop = Image.fromarray(crop_quad(photo, quad, 200))
    numbers = photo_to_crop(quad, 200, left=120, top=100)
    back = np.array(crop.transform((60, 60), Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC))
    assert psnr(back, photo[100:160, 120:180]) > 30
