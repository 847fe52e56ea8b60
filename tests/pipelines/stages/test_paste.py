"""Pasting: nothing changes where nothing was edited, no seam, no ghost, the photo's grain stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pipelines.images.geometry import F64Array, crop_quad, photo_to_crop, to_crop
from pipelines.stages.paste import add_patch, make_patch, paste
from pipelines.types import U8Image
from tests.pipelines.images.test_geometry import square, texture


def shares(photo: U8Image, quad: F64Array) -> F64Array:
    """H x W x 2: where each photo pixel lies in the crop."""
    y, x = np.mgrid[0 : photo.shape[0], 0 : photo.shape[1]]
    return to_crop(np.stack([x.ravel(), y.ravel()], axis=1), quad).reshape(*photo.shape[:2], 2)


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), st.floats(5, 700), st.tuples(st.floats(-50, 350), st.floats(-50, 250)))
def test_unedited_crop_returns_the_photo(degrees: float, length: float, centre: tuple[float, float]) -> None:
    photo, crop = texture(300, 200), texture(64, 64, seed=1)
    assert (paste(photo, crop, square(centre, length, degrees), crop) == photo).all()


@pytest.mark.parametrize("degrees", [0, 25])
@pytest.mark.parametrize("length", [90, 128, 700])
def test_change_lands_inside_the_square_only(degrees: float, length: float) -> None:
    photo = texture(900, 840)
    quad = square((440, 420), length, degrees)
    crop = crop_quad(photo, quad, 128)
    result = paste(photo, 255 - crop, quad, crop)
    place = shares(photo, quad)
    outside = ((place < 0) | (place > 1)).any(axis=2)
    assert (result[outside] == photo[outside]).all()
    core = ((place > 0.2) & (place < 0.8)).all(axis=2)
    reading = photo_to_crop(quad, 128)
    enlarged = Image.fromarray(255 - crop).transform(
        (900, 840), Image.Transform.AFFINE, reading, Image.Resampling.BICUBIC
    )
    assert np.abs(result[core].astype(float) - np.array(enlarged)[core]).mean() < 6
    assert np.abs(photo[core].astype(float) - np.array(enlarged)[core]).mean() > 20
    assert (photo == texture(900, 840)).all(), "the caller's photo is not written on"


def test_edge_has_no_seam() -> None:
    photo = np.full((300, 300, 3), 100, np.uint8)
    crop = np.full((128, 128, 3), 100, np.uint8)
    result = paste(photo, crop + 100, square((150, 150), 180, 15), crop).astype(int)
    assert result.max() == 200
    assert max(np.abs(np.diff(result, axis=axis)).max() for axis in (0, 1)) <= 12


def test_grain_beyond_the_crops_resolution_stays() -> None:
    """A photo four times finer than the crop, toned by the edit: its noise must not be smoothed away."""
    random = np.random.default_rng(0)
    photo = (120 + random.integers(-20, 20, (600, 600, 1)) + np.zeros(3)).astype(np.uint8)
    quad = square((299.5, 299.5), 512)
    crop = crop_quad(photo, quad, 128)
    result = paste(photo, crop + 8, quad, crop)
    inner = slice(200, 400)
    grain = result[inner, inner].astype(int) - photo[inner, inner]
    assert abs(grain.mean() - 8) < 0.5
    assert grain.std() < 0.6


def test_displaced_edge_leaves_no_ghost() -> None:
    """A sharp dark bar that the edit moved: where it was, the photo's own fine edges must be gone too."""
    photo = np.full((600, 600, 3), 180, np.uint8)
    photo[290:310, 200:400] = 20
    quad = square((299.5, 299.5), 512)
    crop = crop_quad(photo, quad, 128)
    moved = np.full_like(photo, 180)
    moved[330:350, 200:400] = 20
    edited = crop_quad(moved, quad, 128)
    result = paste(photo, edited, quad, crop).astype(int)
    assert np.abs(result[285:315, 220:380] - 180).max() <= 10
    assert np.abs(result[337:343, 220:380] - 20).max() <= 10


def test_small_face_is_not_aliased() -> None:
    """A 512 px crop of stripes shrinks into a 40 px square: grey, not moiré."""
    photo = np.full((120, 120, 3), 128, np.uint8)
    crop = np.full((512, 512, 3), 128, np.uint8)
    stripes = crop.copy()
    stripes[:, ::2], stripes[:, 1::2] = 28, 228
    assert np.abs(paste(photo, stripes, square((60, 60), 40, 9), crop).astype(int) - 128).max() <= 3


def test_difference_to_an_inversion_keeps_what_it_lost() -> None:
    """Compared with the inversion, detail that only the photo has survives an edit elsewhere."""
    photo = texture(256, 256)
    quad = square((127.5, 127.5), 256)
    inversion = np.array(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(4)))
    edited = inversion.copy()
    edited[140:170, 100:156] = 255 - edited[140:170, 100:156]
    result = paste(photo, edited, quad, inversion)
    assert (result[60:100, 60:200] == photo[60:100, 60:200]).all()
    assert np.abs(result[150:160, 115:140].astype(int) - edited[150:160, 115:140]).max() <= 2


def test_strips_do_not_show() -> None:
    """Taller than one strip of rows: a smooth change stays smooth across the boundary."""
    photo = np.full((1300, 700, 3), 90, np.uint8)
    crop = np.full((256, 256, 3), 90, np.uint8)
    result = paste(photo, crop + 60, square((350, 650), 1200, 5), crop).astype(int)
    assert np.abs(np.diff(result, axis=0)).max() <= 3


def test_bad_arguments() -> None:
    photo, crop = texture(50, 50), texture(16, 16)
    with pytest.raises(ValueError, match="one size"):
        paste(photo, crop, square((20, 20), 9), texture(18, 18))
    with pytest.raises(ValueError, match="feather"):
        paste(photo, crop, square((20, 20), 9), crop, feather=0.0)


def test_corners_agree_with_geometry() -> None:
    quad = square((100, 80), 60, 33)
    marks = np.mean(quad, axis=0)
    photo = np.full((160, 200, 3), 50, np.uint8)
    crop = np.full((60, 60, 3), 50, np.uint8)
    dotted = crop.copy()
    dotted[29:31, 29:31] = 250
    difference = paste(photo, dotted, quad, crop)[:, :, 0].astype(float) - 50
    y, x = np.mgrid[0:160, 0:200]
    found = np.array([(x * difference).sum(), (y * difference).sum()]) / difference.sum()
    assert np.abs(found - marks).max() < 0.1


@pytest.mark.parametrize("degrees", [0, 30])
def test_cost_is_that_of_the_mask(degrees: float) -> None:
    """A mouth's mask: what is kept, and what is touched of the photo, is the mouth and what its smoothing sees."""
    photo, crop, mask = texture(600, 600), texture(128, 128, seed=1), np.zeros((128, 128), np.uint8)
    mask[80:100, 50:80] = 255
    quad = square((300, 300), 512, degrees)
    patch = make_patch(255 - crop, quad, crop, mask)
    left, top, right, bottom = patch.box(photo)
    assert (right - left) * (bottom - top) < 600 * 600 / 6
    result = photo.copy()
    add_patch(result, patch)
    rows, columns = (result != photo).any(2).nonzero()
    assert left <= columns.min() <= columns.max() < right
    assert top <= rows.min() <= rows.max() < bottom
    whole = photo.copy()
    add_patch(whole, replace(make_patch(255 - crop, quad, crop), mask=feathered(mask)))
    apart = np.abs(whole.astype(int) - result)  # readings are at 32nds of a pixel: a few fall to the other side
    assert apart.max() <= 8, "cut to the mask or whole: the same"
    assert (apart > 0).mean() < 1e-3


def feathered(mask: U8Image) -> U8Image:
    """A mask as `make_patch` softens it."""
    own = make_patch(np.zeros((128, 128, 3), np.uint8), square((0, 0), 512), np.zeros((128, 128, 3), np.uint8)).mask
    return np.rint(own.astype(np.float32) * mask / 255).astype(np.uint8)


def test_no_mask_no_change() -> None:
    photo, crop = texture(100, 100), texture(64, 64)
    result = paste(photo, 255 - crop, square((50, 50), 80), crop, mask=np.zeros((64, 64), np.uint8))
    assert (result == photo).all()
