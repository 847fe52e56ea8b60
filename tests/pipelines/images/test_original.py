"""Edited photos in their own format, depth, colours and metadata."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from pipelines.images.decode import decode
from pipelines.images.original import Original, as_format, read_original, write_like
from pipelines.types import U8Image
from tests.fakes.photos import chunk, saved, scene
from tests.pipelines.images.test_colours import grey_profile, linear_profile, with_chunks

SCENE = scene(120, 90)
RNG = np.random.default_rng(3)
DEEP = RNG.integers(2000, 60000, (90, 120, 4)).astype(np.uint16)
BOX = (slice(20, 60), slice(30, 90))


def edited(original: Original, by: int = 30) -> tuple[U8Image, np.ndarray]:
    """A brighter rectangle, and its mask."""
    mask = np.zeros(original.pixels.shape[:2], np.float32)
    mask[BOX] = 0.5
    pixels = original.pixels.copy()
    pixels[BOX] = np.clip(pixels[BOX].astype(int) + by, 0, 255)
    return pixels, mask


def rgba(mode: str = "RGBA") -> Image.Image:
    picture = Image.fromarray(SCENE).convert("LA" if mode == "LA" else "RGBA")
    picture.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 120), (90, 1)).astype(np.uint8)))
    return picture


def deep(suffix: str, channels: int) -> bytes:
    return bytes(cv2.imencode(suffix, DEEP[:, :, :channels])[1])


LOSSLESS: dict[str, bytes] = {
    "png-rgb": saved(SCENE, "PNG"),
    "png-grey": saved(Image.fromarray(SCENE).convert("L"), "PNG"),
    "png-rgba": saved(rgba(), "PNG"),
    "png-la": saved(rgba("LA"), "PNG"),
    "png-i16": saved(Image.fromarray(DEEP[:, :, 0]), "PNG"),
    "png-rgb16": deep(".png", 3),
    "png-rgba16": deep(".png", 4),
    "png-linear": saved(SCENE, "PNG", icc_profile=linear_profile()),
    "png-grey-linear": saved(Image.fromarray(SCENE).convert("L"), "PNG", icc_profile=grey_profile()),
    "png-gamma": with_chunks(saved(SCENE, "PNG"), chunk(b"gAMA", struct.pack(">I", 100000))),
    "png-rgb16-linear": with_chunks(deep(".png", 3), chunk(b"iCCP", b"x\0\0" + zlib.compress(linear_profile()))),
    "tiff-rgb": saved(SCENE, "TIFF", compression="tiff_lzw"),
    "tiff-raw": saved(SCENE, "TIFF"),
    "tiff-i16": saved(Image.fromarray(DEEP[:, :, 0]), "TIFF"),
    "tiff-rgb16": deep(".tiff", 3),
    "tiff-cmyk": saved(Image.fromarray(SCENE).convert("CMYK"), "TIFF"),
    "tiff-float": saved(Image.fromarray(DEEP[:, :, 0].astype(np.float32) / 65535), "TIFF"),
    "webp": saved(SCENE, "WEBP", lossless=True),
    "webp-alpha": saved(rgba(), "WEBP", lossless=True, exact=True),
    "bmp": saved(SCENE, "BMP"),
    "ppm": saved(SCENE, "PPM"),
    "jp2": saved(SCENE, "JPEG2000"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_outside_of_the_mask_every_bit_stays(name: str) -> None:
    original = read_original(LOSSLESS[name])
    assert (original.pixels == decode(LOSSLESS[name])).all()
    pixels, mask = edited(original)
    again = read_original(write_like(original, pixels, mask))
    assert (again.format, again.mode, again.bits, again.icc) == (
        original.format,
        original.mode,
        original.bits,
        original.icc,
    )
    assert again.suffix == original.suffix
    outside = mask == 0
    assert (again.samples[outside] == original.samples[outside]).all()
    if original.alpha:
        assert (again.samples[:, :, -1] == original.samples[:, :, -1]).all()


@pytest.mark.parametrize("name", LOSSLESS)
def test_inside_the_edit_is_seen(name: str) -> None:
    original = read_original(LOSSLESS[name])
    pixels, mask = edited(original)
    shown = decode(write_like(original, pixels, mask)).astype(int)
    off = np.abs(shown - pixels)[BOX]
    if original.alpha:  # what is barely opaque cannot be brighter than white at its opacity
        off = off[:, 30:]
    assert np.median(off) <= (2 if "cmyk" in name or "linear" in name or "gamma" in name else 1)
    assert np.abs(shown - pixels)[BOX][0].mean() < (12 if original.alpha else 8)


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_that_no_edit_changed_stay_inside_the_mask_too(name: str) -> None:
    original = read_original(LOSSLESS[name])
    mask = np.ones(original.pixels.shape[:2])
    again = read_original(write_like(original, original.pixels, mask))
    assert (again.samples == original.samples).all()


def test_sixteen_bits_keep_what_eight_do_not_show() -> None:
    original = read_original(LOSSLESS["png-rgb16"])
    pixels, mask = edited(original, 10)
    changed = read_original(write_like(original, pixels, mask)).samples[BOX].astype(int) - original.samples[BOX]
    assert set(np.unique(changed)) <= {2570, *range(0, 2570, 257)}
    assert len(np.unique(original.samples % 257)) > 200


def test_grey_stays_grey_whatever_colour_the_edit_has() -> None:
    original = read_original(LOSSLESS["png-grey"])
    pixels, mask = edited(original)
    pixels[BOX] = (200, 40, 40)
    again = Image.open(io.BytesIO(write_like(original, pixels, mask)))
    assert (again.mode, np.asarray(again)[30, 40]) == ("L", 88)


def test_hidden_colour_below_transparent_pixels_stays() -> None:
    original = read_original(LOSSLESS["png-rgba"])
    pixels = np.zeros_like(original.pixels)
    again = read_original(write_like(original, pixels, np.ones(pixels.shape[:2])))
    clear = original.samples[:, :, 3] == 0
    assert clear.any()
    assert (again.samples[clear] == original.samples[clear]).all()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_keeps_its_own_coding(subsampling: int, mode: str, progressive: bool) -> None:
    data = saved(
        Image.fromarray(SCENE).convert(mode), "JPEG", quality=83, subsampling=subsampling, progressive=progressive
    )
    original = read_original(data)
    pixels, mask = edited(original)
    again = write_like(original, pixels, mask)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(again))
    assert (after.format, after.mode, after.size) == ("JPEG", mode, before.size)
    assert after.quantization == before.quantization
    if mode == "RGB":
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
    assert bool(after.info.get("progressive")) == progressive
    outside = np.abs(decode(again).astype(int) - original.pixels)[70:]
    assert outside.mean() < 1.5
    assert np.abs(decode(again).astype(int) - pixels)[BOX].mean() < 5


def camera(orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    inner = exif.get_ifd(0x8769)
    inner[0xA002], inner[0xA003], inner[0x9003] = 120, 90, "2025:01:02 03:04:05"
    exif[0x8769] = inner
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (48.0, 8.0, 0.0)
    exif[0x8825] = gps
    return saved(SCENE, "JPEG", quality=95, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_put_right_and_the_place_is_gone(orientation: int) -> None:
    data = camera(orientation)
    original = read_original(data)
    pixels, mask = edited(original) if orientation < 5 else (original.pixels, np.zeros(original.pixels.shape[:2]))
    again = write_like(original, pixels, mask)
    exif = Image.open(io.BytesIO(again)).getexif()
    assert (exif[0x0112], exif[0x010F]) == (1, "Maker")
    assert exif.get_ifd(0x8769)[0x9003] == "2025:01:02 03:04:05"
    size = exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]
    assert size == Image.open(io.BytesIO(again)).size
    assert not exif.get_ifd(0x8825)
    assert decode(again).shape == original.pixels.shape
    assert np.abs(decode(again).astype(int) - pixels)[70:].mean() < 2
    kept = Image.open(io.BytesIO(write_like(original, pixels, mask, keep_gps=True))).getexif()
    assert kept.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_exif_of_a_tiff(compression: str) -> None:
    exif = Image.open(io.BytesIO(camera(6))).getexif()
    exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    original = replace(read_original(saved(SCENE, "TIFF", exif=exif)), saving={"compression": compression})
    again = write_like(original, original.pixels, np.zeros(original.pixels.shape[:2]))
    assert (decode(again) == original.pixels).all()
    assert Image.open(io.BytesIO(again)).getexif().get(0x010F) == "Maker"
    assert not Image.open(io.BytesIO(again)).getexif().get_ifd(0x8825)


def test_heic_becomes_a_jpeg() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    try:
        heif.from_pillow(Image.fromarray(SCENE)).save(buffer, quality=95)
    except RuntimeError as error:
        pytest.skip(f"no HEIC encoder in this build: {error}")
    original = read_original(buffer.getvalue())
    assert (original.format, original.suffix) == ("JPEG", "jpg")
    assert np.abs(decode(write_like(original, *edited(original))).astype(int) - edited(original)[0]).mean() < 3


def test_xmp_comment_resolution_and_profile_of_a_jpeg() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" exif:GPSLatitude="48,8N" dc:x=\'y\'/></x:xmpmeta>'
    data = camera(6, xmp=xmp, comment=b"hello", dpi=(300, 300), icc_profile=linear_profile())
    original = read_original(data)
    info = Image.open(io.BytesIO(write_like(original, original.pixels, np.zeros(original.pixels.shape[:2])))).info
    assert b'tiff:Orientation="1"' in info["xmp"]
    assert b"GPS" not in info["xmp"]
    assert (info["comment"], info["dpi"], info["icc_profile"]) == (b"hello", (300, 300), linear_profile())


def test_chunks_of_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "Maker"
    data = with_chunks(saved(SCENE, "PNG", dpi=(200, 200), exif=exif.tobytes()), chunk(b"tEXt", b"Author\0Me"))
    original = read_original(data)
    again = Image.open(io.BytesIO(write_like(original, *edited(original))))
    again.load()
    assert again.info["Author"] == "Me"
    assert round(again.info["dpi"][0]) == 200
    assert (again.getexif()[0x0112], again.getexif()[0x010F]) == (1, "Maker")


@pytest.mark.parametrize("format", ["GIF", "PNG"])
def test_palettes_become_colours(format: str) -> None:
    data = saved(Image.fromarray(SCENE).quantize(64), format)
    original = read_original(data)
    pixels, mask = edited(original)
    assert (original.format, original.suffix) == ("PNG", "png")
    assert (decode(write_like(original, pixels, mask)) == pixels).all()


def test_a_declared_range_and_a_size_that_does_not_fit() -> None:
    twelve = saved(Image.fromarray((DEEP[:, :, 0] // 16).astype(np.uint16)), "TIFF")
    original = read_original(twelve)
    assert original.white == 4095
    pixels, mask = edited(original)
    assert np.abs(decode(write_like(original, pixels, mask)).astype(int) - pixels).max() <= 1
    with pytest.raises(ValueError, match="fit"):
        write_like(original, pixels[1:], mask)


def test_the_same_bytes_every_time() -> None:
    for data in (*LOSSLESS.values(), camera(6)):
        original = read_original(data)
        assert write_like(original, *edited(original)) == write_like(original, *edited(original))


SOURCE_TYPE = b"http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@pytest.mark.parametrize("name", ["png-rgb", "png-rgb16", "tiff-rgb", "tiff-rgb16", "jpeg", "webp"])
def test_a_note_says_that_a_model_altered_the_photo(name: str) -> None:
    data = {**LOSSLESS, "jpeg": saved(SCENE, "JPEG")}[name]
    original = read_original(data)
    mask = np.zeros(original.pixels.shape[:2], np.uint8)
    assert SOURCE_TYPE not in write_like(original, original.pixels, mask)
    once = write_like(original, original.pixels, mask, altered=True)
    assert SOURCE_TYPE in once
    if name != "tiff-rgb16":  # the note is XMP that another reader finds, and does not pile up
        assert SOURCE_TYPE in (read_original(once).metadata.xmp or b"")
    again = read_original(once)
    twice = write_like(again, again.pixels, mask, altered=True)
    assert twice.count(b"trainedAlgorithmicMedia") + twice.count(b"TrainedAlgorithmicMedia") == 1


def test_other_notes_stay_beside_it() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"'
        b' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    original = read_original(saved(SCENE, "JPEG", xmp=packet))
    made = write_like(original, original.pixels, np.zeros(original.pixels.shape[:2]), altered=True)
    xmp = Image.open(io.BytesIO(made)).info["xmp"]
    assert b'dc:format="image/jpeg"' in xmp
    assert SOURCE_TYPE in xmp
    assert b"digitalCapture" not in xmp


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_jpeg_written_as_another_format_keeps_its_pixels(suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    original = read_original(saved(SCENE, "JPEG", quality=90, exif=exif))
    pixels, mask = edited(original)
    made = write_like(as_format(original, suffix), pixels, mask)
    assert (decode(made) == pixels).all()
    assert Image.open(io.BytesIO(made)).getexif()[0x010F] == "maker"


def test_what_another_format_cannot_hold_becomes_srgb() -> None:
    original = as_format(read_original(saved(Image.fromarray(SCENE).convert("CMYK"), "JPEG")), "png")
    assert (original.suffix, original.mode, original.bits, original.icc) == ("png", "RGB", 8, None)
    assert (decode(write_like(original, *edited(original))) == edited(original)[0]).all()
    deep = read_original(LOSSLESS["png-rgb16"])
    assert as_format(deep, "tif").bits == 16
    assert as_format(deep, "jpg").bits == 8
    assert as_format(deep, "own") is deep
