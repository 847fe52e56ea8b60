"""Decoding of every kind of file, good and bad."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipelines.errors import PhotoError
from pipelines.images.decode import decode, jpeg_size
from pipelines.types import U8Image
from tests.fakes.photos import chunk, png_claiming, saved, scene, turned


def distance(image: U8Image, other: U8Image) -> int:
    assert image.shape == other.shape
    return int(np.abs(image.astype(int) - other).max())


def code_of(data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(data)
    assert len(caught.value.message) > 20
    assert "\n" not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize(
    ("format", "options", "levels"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 98, "subsampling": 0}, 8),
        ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, 8),
        ("JPEG2000", {}, 2),
        ("AVIF", {"quality": 100}, 8),
        ("GIF", {}, 40),
    ],
)
def test_decodes_each_format_by_its_bytes(format: str, options: dict[str, object], levels: int) -> None:
    image = decode(saved(scene(), format, **options))
    assert image.dtype == np.uint8
    assert image.flags.owndata
    assert distance(image, scene()) <= levels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    assert distance(decode(turned(orientation)), scene()) <= 8


def test_unreadable_exif_turns_nothing() -> None:
    data = saved(scene(), "JPEG", quality=98, exif=b"Exif\0\0" + b"\xff" * 40)
    assert decode(data).shape == scene().shape


def test_grey_alpha_and_palette_modes() -> None:
    grey = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    as_rgb = np.repeat(grey[:, :, None], 3, axis=2)
    assert distance(decode(saved(Image.fromarray(grey), "PNG")), as_rgb) == 0
    clear = np.zeros_like(grey)
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(clear)])
    assert (decode(saved(both, "PNG")) == 255).all(), "transparent pixels show white, whatever colour hides below"
    half = Image.merge("LA", [Image.fromarray(clear), Image.fromarray(clear + 128)])
    assert distance(decode(saved(half, "PNG")), np.full((64, 96, 3), 127, np.uint8)) <= 1
    palette = Image.fromarray(scene()).quantize(256)
    assert distance(decode(saved(palette, "PNG")), np.array(palette.convert("RGB"))) == 0
    keyed = np.where(np.array(palette)[:, :, None] == 7, 255, np.array(palette.convert("RGB")))
    assert distance(decode(saved(palette, "PNG", transparency=7)), keyed.astype(np.uint8)) == 0
    opaque = Image.fromarray(scene()).convert("RGBA")
    assert distance(decode(saved(opaque, "PNG")), scene()) == 0


def test_one_bit_picture_is_black_and_white() -> None:
    bits = np.indices((40, 40)).sum(0) % 2 == 0
    assert distance(decode(saved(Image.fromarray(bits), "PNG")), np.repeat(bits[:, :, None] * 255, 3, 2)) == 0


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format: str) -> None:
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    image = decode(saved(Image.fromarray(deep.astype(np.uint16)), format))
    assert distance(image[:, :, 0], np.rint(deep / 257).astype(np.uint8)) <= 1


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_float_tiff_is_scaled_by_the_range_that_holds_it(white: float) -> None:
    values = np.linspace(0, white, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, 1] = np.nan
    image = decode(saved(Image.fromarray(values), "TIFF"))
    assert image[-1, -1, 0] == 255
    assert abs(int(image[32, 0, 0]) - 128) <= 1
    assert image[0, 1, 0] == 0


def test_sixteen_bit_colour_png() -> None:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in scene().astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 96, 64, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert distance(decode(data), scene()) <= 1


def test_cmyk_jpeg_is_not_inverted() -> None:
    ink = Image.fromarray(scene()).convert("CMYK")
    assert distance(decode(saved(ink, "JPEG", quality=98, subsampling=0)), np.array(ink.convert("RGB"))) <= 10
    assert distance(decode(saved(ink, "TIFF")), np.array(ink.convert("RGB"))) <= 1


def test_embedded_profile_is_converted_to_srgb() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = saved(scene(), "PNG")
    assert distance(decode(saved(scene(), "PNG", icc_profile=srgb.tobytes())), decode(plain)) == 0
    assert distance(decode(saved(scene(), "PNG", icc_profile=lab.tobytes())), decode(plain)) == 0, (
        "does not fit: ignored"
    )
    assert distance(decode(saved(scene(), "PNG", icc_profile=_linear_profile())), decode(plain)) > 40


def _linear_profile() -> bytes:
    """sRGB's profile with its tone curve replaced by the identity and its name changed, in place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(128, len(profile) - 12):
        if profile[at : at + 4] == b"para":
            profile[at : at + 12] = b"curv" + bytes(8)  # a curve of no entries is the identity
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "flat".encode("utf-16-be"))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_many(format: str) -> None:
    first = Image.fromarray(scene())
    more = [Image.new("RGB", first.size, colour) for colour in ("red", "blue")]
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    assert distance(decode(saved(first, format, save_all=True, append_images=more, **options)), scene()) <= 40


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    try:
        heif.from_pillow(Image.fromarray(scene(128, 96))).save(buffer, quality=95)
    except RuntimeError as error:
        pytest.skip(f"no HEIC encoder in this build: {error}")
    assert distance(decode(buffer.getvalue()), scene(128, 96)) <= 20


def test_heic_without_its_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(PhotoError, match=r"ganinv\[heic\]") as caught:
        decode(data)
    assert caught.value.code == "needs-heic"


BAD = {
    "empty-file": b"",
    "not-an-image": b"Dear diary, today I renamed a letter to photo.jpg.\n" * 9,
    "too-large": png_claiming(60000, 60000),
    "too-small": saved(np.zeros((1, 1, 3), np.uint8), "PNG"),
}


@pytest.mark.parametrize("code", BAD)
def test_bad_file(code: str) -> None:
    assert code_of(BAD[code]) == code


def test_size_limits() -> None:
    assert code_of(png_claiming(20000, 10001)) == "too-large"
    assert code_of(png_claiming(2**31 - 1, 2**31 - 1)) == "too-large"
    assert code_of(saved(np.zeros((20, 30000, 3), np.uint8), "PNG")) == "too-small"
    assert decode(saved(np.zeros((32, 32, 3), np.uint8), "PNG")).shape == (32, 32, 3)
    assert code_of(png_claiming(16320, 12240)) == "truncated", "within the limit: refused for its missing pixels only"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_cut_off_file_is_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    whole = saved(noise, format)
    assert code_of(whole[: int(len(whole) * share)]) in {"truncated", "damaged", "not-an-image"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_cut_off_jpeg_says_truncated(options: dict[str, bool]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    whole = saved(noise, "JPEG", **options)
    assert code_of(whole[: len(whole) // 2]) == "truncated"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_raise_anything_else(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]))
    whole = bytearray(saved(scene(40, 36), format))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(whole))
    except PhotoError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3


def test_pillow_warnings_stay_inside(tmp_path: Path) -> None:
    """A palette with per-entry alpha and a broken EXIF block both make Pillow warn."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + b"\x12\x01\x03\0\xff\xff\0\0\xff\xff\xff\xff" * 2
    (tmp_path / "a.jpg").write_bytes(saved(scene(), "JPEG", exif=exif))
    code = "import sys, pathlib, pipelines.images.decode as i; i.decode(pathlib.Path(sys.argv[1]).read_bytes())"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.jpg")], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_jpeg_at_a_reduced_scale_is_the_mean_of_its_blocks(shrink: int, options: dict[str, object]) -> None:
    whole = scene(803, 605)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(whole, "JPEG", **({"quality": 98, "exif": exif} | options))
    assert jpeg_size(data) == (605, 803)
    small = decode(data, shrink)
    assert small.shape == (-(-803 // shrink), -(-605 // shrink), 3)
    rows, columns = 803 // shrink, 605 // shrink
    blocks = decode(data)[: rows * shrink, -columns * shrink :].reshape(rows, shrink, columns, shrink, 3).mean((1, 3))
    offset = small.shape[1] - columns  # turned: the partial block is at the left
    assert np.abs(small[:rows, offset:].astype(float) - blocks).mean() < 2


def test_only_jpegs_have_reduced_scales() -> None:
    assert jpeg_size(saved(scene(), "PNG")) is None
    assert jpeg_size(b"\xff\xd8\xff" + bytes(40)) is None
    assert jpeg_size(b"") is None
    with pytest.raises(PhotoError):
        decode(saved(scene(), "PNG"), 2)
    with pytest.raises(PhotoError):
        decode(saved(scene(), "JPEG"), 3)
    grey = saved(Image.fromarray(scene(512, 512)).convert("L"), "JPEG")
    assert decode(grey, 2).shape == (256, 256, 3)
    ink = saved(Image.fromarray(scene(512, 512)).convert("CMYK"), "JPEG", quality=98)
    assert distance(decode(ink, 2), decode(saved(Image.fromarray(scene(256, 256)), "PNG"))) <= 12
