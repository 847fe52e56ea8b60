"""Files whose numbers mean other colours than sRGB's, and files with more than 8 bits."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from pipelines.images.colour import Shaper, decoded, encoded, shaper
from pipelines.images.decode import decode
from pipelines.types import U8Image
from tests.fakes.photos import chunk, saved, scene

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear_profile() -> bytes:
    """sRGB's profile with its tone curve replaced by the identity, and its name kept."""
    profile = bytearray(SRGB)
    for at in range(128, len(profile) - 12):
        if profile[at : at + 4] == b"para":
            profile[at : at + 12] = b"curv" + bytes(8)
    return bytes(profile)


def grey_profile() -> bytes:
    """A linear grey profile with `sRGB` in its name."""
    tags = [(b"desc", b"desc" + bytes(4) + struct.pack(">I", 5) + b"sRGB\0" + bytes(79)), (b"kTRC", b"curv" + bytes(8))]
    tags.append((b"wtpt", b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)))
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = bytes(4) + b"lcms\x02\x20\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def bright(codes: np.ndarray) -> U8Image:
    """Linear codes in [0, 1] -> sRGB levels."""
    return np.rint(255 * encoded(codes)).astype(np.uint8)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


def distance(image: U8Image, other: U8Image) -> int:
    return int(np.abs(image.astype(int) - other).max())


@pytest.mark.parametrize(
    "name", ["linear-profile.png", "grey-alpha-linear-profile.png", "grey16-linear-profile.png", "no-end-marker.jpg"]
)
def test_one_photo_in_four_files_has_one_brightness(shared: Path, name: str) -> None:
    assert decode((shared / "inputs" / name).read_bytes()).mean() == pytest.approx(121.2, abs=0.6)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_linear_colour_whatever_its_name(format: str) -> None:
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    image = decode(saved(scene(), format, icc_profile=linear_profile(), **options))
    assert distance(image, bright(scene() / 255)) <= (8 if format == "JPEG" else 2)


def test_srgb_by_its_numbers_changes_nothing() -> None:
    named = SRGB.replace("sRGB".encode("utf-16-be"), "flat".encode("utf-16-be"))
    assert distance(decode(saved(scene(), "PNG", icc_profile=named)), scene()) == 0
    assert shaper({"icc_profile": SRGB}, b"RGB ") is None


@pytest.mark.parametrize(
    ("mode", "format"), [("L", "PNG"), ("L", "TIFF"), ("L", "JPEG"), ("LA", "PNG"), ("I;16", "PNG"), ("I;16", "TIFF")]
)
def test_linear_grey_in_every_mode(mode: str, format: str) -> None:
    codes = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    levels = np.rint(codes * 255).astype(np.uint8)
    picture = Image.fromarray(np.rint(codes * 65535).astype(np.uint16) if mode == "I;16" else levels)
    picture = picture.convert("LA") if mode == "LA" else picture
    options = {"quality": 100} if format == "JPEG" else {}
    image = decode(saved(picture, format, icc_profile=grey_profile(), **options))
    wanted = bright(codes if mode == "I;16" else levels / 255)[:, :, None].repeat(3, 2)
    assert distance(image[16:], wanted[16:]) <= (6 if format == "JPEG" else 1)


def test_gamma_and_primaries_of_a_png() -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    linear = with_chunks(saved(scene(), "PNG"), gamma)
    assert distance(decode(linear), bright(scene() / 255)) <= 1
    assert distance(decode(with_chunks(saved(scene(), "PNG"), chunk(b"gAMA", struct.pack(">I", 45455)))), scene()) == 0
    srgb = with_chunks(saved(scene(), "PNG"), gamma, chunk(b"sRGB", b"\0"))
    assert distance(decode(srgb), scene()) == 0, "a statement of sRGB counts more"
    wide = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    red = np.full((40, 40, 3), (180, 90, 90), np.uint8)
    image = decode(with_chunks(saved(red, "PNG"), gamma, wide))[0, 0]
    assert image[0] > bright(np.array(180 / 255)) + 3, "Display P3's red lies outside of sRGB's"
    neutral = decode(with_chunks(saved(np.full((40, 40, 3), 99, np.uint8), "PNG"), gamma, wide))[0, 0].astype(int)
    assert np.ptp(neutral) <= 1
    grey = saved(Image.fromarray(scene()[:, :, 0]), "PNG")
    assert distance(decode(with_chunks(grey, gamma))[:, :, 0], bright(scene()[:, :, 0] / 255)) <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_deep_linear_colour_keeps_its_shadows(suffix: str) -> None:
    """8 bits of light have 13 levels between black and the first step; 16 bits have them all."""
    codes = (np.linspace(0, 0.02, 64 * 64).reshape(64, 64, 1) * np.ones(3) * 65535).astype(np.uint16)
    codes[:2] = 65535
    data = bytes(cv2.imencode(suffix, codes)[1])
    if suffix == ".png":
        data = with_chunks(data, chunk(b"iCCP", b"x\0\0" + zlib.compress(linear_profile())))
        assert len(np.unique(decode(data)[:, :, 0])) > 35
    else:
        assert decode(data).shape == (64, 64, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12])
def test_fewer_bits_in_sixteen_fill_the_range(suffix: str, channels: int, bits: int) -> None:
    whole = scene().astype(np.float64) / 255
    whole[0, 0] = 1
    codes = np.rint(whole[:, :, :channels] * (2**bits - 1)).astype(np.uint16)
    wanted = whole[:, :, ::-1] if channels == 3 else whole[:, :, :1].repeat(3, 2)
    image = decode(bytes(cv2.imencode(suffix, codes)[1]))
    assert distance(image, np.rint(wanted * 255).astype(np.uint8)) <= 1


def test_a_black_photo_of_sixteen_bits_stays_black() -> None:
    dark = (scene()[:, :, 0] // 20).astype(np.uint16) * 257
    assert decode(saved(Image.fromarray(dark), "PNG")).max() <= 12
    assert decode(saved(Image.fromarray(dark * 0), "TIFF")).max() == 0


def test_declared_range_of_a_tiff() -> None:
    half = np.full((40, 40), 8191, np.uint16)
    assert decode(saved(Image.fromarray(half), "TIFF", tiffinfo={281: 16383}))[0, 0, 0] == 127


def test_shaper_and_back() -> None:
    found = shaper({"icc_profile": linear_profile()}, b"RGB ")
    assert isinstance(found, Shaper)
    colours = np.random.default_rng(0).random((20, 3))
    np.testing.assert_allclose(found.from_srgb(found.to_srgb(colours)), colours, atol=2e-3)
    np.testing.assert_allclose(encoded(decoded(colours)), colours, atol=1e-6)
    for length in range(0, len(SRGB), 7):
        shaper({"icc_profile": linear_profile()[:length]}, b"RGB ")
