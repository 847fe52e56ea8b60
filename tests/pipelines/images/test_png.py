"""PNG files are what Pillow reads back level by level, whatever the size and however the rows are cut into bands."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pipelines.images import png
from pipelines.images.png import png_bytes
from pipelines.types import U8Image
from tests.fakes.photos import scene

PICTURES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape))


def read(data: bytes) -> U8Image:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        picture.verify()  # every chunk's checksum
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        assert picture.mode == "RGB"
        return np.array(picture)


@given(PICTURES, st.integers(1, 500))
def test_any_picture_comes_back(picture: U8Image, band: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "_BAND_BYTES", band)
        assert (read(png_bytes(picture)) == picture).all()


def test_views_and_read_only_pictures_are_taken() -> None:
    picture = scene(90, 70)
    assert (read(png_bytes(picture[10:60:2, ::-1])) == picture[10:60:2, ::-1]).all()
    picture.flags.writeable = False
    assert (read(png_bytes(picture)) == picture).all()


def test_a_picture_of_several_bands_is_one_stream_in_several_chunks() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1500, 1200, 3)).astype(np.uint8)
    data = png_bytes(picture)
    kinds, at, stream = [], 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kinds.append(data[at + 4 : at + 8])
        stream += data[at + 8 : at + 8 + length] if kinds[-1] == b"IDAT" else b""
        at += 12 + length
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert kinds.count(b"IDAT") >= 2
    assert set(kinds[1:-1]) == {b"IDAT"}
    assert (read(data) == picture).all()
    assert len(zlib.decompress(stream)) == 1500 * (1 + 3 * 1200)  # its checksum holds: of bands made side by side


def test_a_photo_is_about_as_small_as_pillow_makes_it() -> None:
    grain = np.random.default_rng(0).normal(0, 4, (300, 400, 1))
    photo = np.clip(scene(400, 300) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    assert len(png_bytes(photo)) < 1.15 * len(buffer.getvalue())


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong: U8Image) -> None:
    with pytest.raises(ValueError, match="H x W x 1 to 4"):
        png_bytes(wrong)
    with pytest.raises(ValueError, match="float64"):
        png_bytes(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
