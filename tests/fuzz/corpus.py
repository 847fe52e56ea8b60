"""Several hundred photo files, most of them broken or odd, all made by code; each says what must become of it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms

from tests.fakes.photos import chunk, png_claiming, saved, scene, turned

Fate = Literal["ok", "failed", "either"]


@dataclass(frozen=True)
class Sample:
    """A file: its name, its bytes, and whether it must give a face, must fail, or may do either (but tell)."""

    name: str
    data: bytes
    fate: Fate


def corpus() -> list[Sample]:
    """The same files every time; names are unique, also without their suffixes."""
    makers = (
        _good(),
        _orientations(),
        _metadata(),
        _tiny(),
        _bombs(),
        _no_pictures(),
        _cut(),
        _flipped(),
        _holes(),
        _patched(),
    )
    return [Sample(f"{n:03d}-{one.name}", one.data, one.fate) for n, one in enumerate(s for m in makers for s in m)]


def formats() -> dict[str, bytes]:
    """Every kind of file that must be read, suffix after the last dot."""
    rgb = Image.fromarray(scene())
    grey, alpha = rgb.convert("L"), rgb.convert("RGBA")
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(180), rgb.rotate(90)]}
    made = {
        "plain.jpg": saved(rgb, "JPEG", quality=90),
        "progressive.jpeg": saved(rgb, "JPEG", quality=90, progressive=True),
        "grey.jpg": saved(grey, "JPEG"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "restarts.jpg": saved(rgb, "JPEG", restart_marker_blocks=2),
        "plain.png": saved(rgb, "PNG"),
        "palette.png": saved(rgb.quantize(16), "PNG"),
        "keyed.png": saved(rgb.quantize(16), "PNG", transparency=3),
        "bits.png": saved(grey.convert("1"), "PNG"),
        "grey-alpha.png": saved(alpha.convert("LA"), "PNG"),
        "alpha.png": saved(alpha, "PNG"),
        "sixteen.png": saved(deep, "PNG"),
        "interlaced.png": interlaced(scene()),
        "apng.png": saved(rgb, "PNG", **frames),
        "plain.webp": saved(rgb, "WEBP"),
        "lossless.webp": saved(alpha, "WEBP", lossless=True),
        "moving.webp": saved(rgb, "WEBP", **frames),
        "plain.gif": saved(rgb, "GIF"),
        "moving.gif": saved(rgb, "GIF", **frames),
        "plain.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(rgb.quantize(200), "BMP"),
        "bits.bmp": saved(grey.convert("1"), "BMP"),
        "plain.tif": saved(rgb, "TIFF"),
        "lzw.tiff": saved(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": saved(rgb, "TIFF", compression="jpeg"),
        "pages.tif": saved(rgb, "TIFF", **frames),
        "sixteen.tif": saved(deep, "TIFF"),
        "float.tif": saved(real, "TIFF"),
        "cmyk.tif": saved(rgb.convert("CMYK"), "TIFF"),
        "big.tif": saved(rgb, "TIFF", big_tiff=True),
        "plain.ppm": saved(rgb, "PPM"),
        "grey.pgm": saved(grey, "PPM"),
        "deep.pgm": saved(deep, "PPM"),
        "text.ppm": b"P3 32 32 255\n" + b" ".join(str(n % 256).encode() for n in range(3 * 32 * 32)) + b"\n",
        "plain.jp2": saved(rgb, "JPEG2000"),
        "stream.j2k": saved(rgb, "JPEG2000", no_jp2=True),
        "plain.avif": saved(rgb, "AVIF", speed=10),
        "pair.mpo": saved(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)]),
    }
    return made


def interlaced(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A PNG in the seven passes of Adam7; Pillow writes none."""
    height, width = image.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(b"\0" + row.tobytes() for top, left, down, right in passes for row in image[top::down, left::right])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return _png(header, zlib.compress(rows))


def _png(header: bytes, body: bytes, *more: bytes) -> bytes:
    chunks = (chunk(b"IHDR", header), *more, chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _good() -> Iterator[Sample]:
    for name, data in formats().items():
        yield Sample(name, data, "ok")
        wrong = "jpg" if not name.endswith("jpg") else "png"
        yield Sample(f"{name.replace('.', '-')}-misnamed.{wrong}", data, "ok")
    jpg, png = formats()["plain.jpg"], formats()["plain.png"]
    yield Sample("trailing.jpg", jpg + b"<html>" * 50, "ok")
    yield Sample("twice.jpg", jpg + jpg, "ok")
    yield Sample("trailing.png", png + bytes(500), "ok")
    yield Sample("-dash.png", png, "ok")
    yield Sample("new\nline.png", png, "ok")
    yield Sample("smile😀.JPG", jpg, "ok")
    yield Sample("latin\udce9.png", png, "ok")
    yield Sample("x" * 200 + ".png", png, "ok")
    yield Sample("'; rm -rf $HOME [bold]`id`.png", png, "ok")


def _orientations() -> Iterator[Sample]:
    for orientation in (*range(1, 9), 0, 9, 65535):
        yield Sample(f"orientation-{orientation}.jpg", turned(orientation), "ok")


def _metadata() -> Iterator[Sample]:
    rgb = scene()
    blocks = {
        "garbage": b"Exif\0\0" + bytes(range(256)),
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x07\0",
        "loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
        "far": b"Exif\0\0MM\0*\xff\xff\xff\xf0" + bytes(40),
        "text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
    }
    for name, block in blocks.items():
        for format, end in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
            yield Sample(f"exif-{name}.{end}", saved(rgb, format, exif=block), "either" if end != "jpg" else "ok")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profiles = {"garbage": b"no profile" * 9, "cut": srgb[:200], "lab": lab, "empty": b"", "zeros": bytes(300)}
    profiles["flipped"] = bytes(byte ^ (n % 7 == 0) for n, byte in enumerate(srgb))
    for name, profile in profiles.items():
        for format, end in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")):
            yield Sample(f"icc-{name}.{end}", saved(rgb, format, icc_profile=profile), "ok")
    yield Sample("icc-grey.jpg", saved(Image.fromarray(rgb).convert("L"), "JPEG", icc_profile=srgb), "ok")
    yield Sample("icc-cmyk.jpg", saved(Image.fromarray(rgb).convert("CMYK"), "JPEG", icc_profile=srgb), "ok")


def _tiny() -> Iterator[Sample]:
    for width, height in ((1, 1), (1, 64), (64, 1), (31, 200), (4000, 2)):
        for format, end in (("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("BMP", "bmp")):
            picture = np.full((height, width, 3), 90, np.uint8)
            yield Sample(f"tiny-{width}x{height}-{end}.{end}", saved(picture, format), "failed")
    yield Sample("least.png", saved(scene(32, 32), "PNG"), "ok")
    yield Sample("strip.png", saved(scene(2000, 33), "PNG"), "either")


def _bombs() -> Iterator[Sample]:
    for width, height in ((60000, 60000), (2**31 - 1, 2**31 - 1), (20000, 10001), (2**31 - 1, 40), (0, 0), (40, 0)):
        yield Sample(f"bomb-{width}x{height}.png", png_claiming(width, height), "failed")
    jpg = bytearray(formats()["plain.jpg"])
    frame = jpg.index(b"\xff\xc0")
    jpg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    yield Sample("bomb.jpg", bytes(jpg), "failed")
    yield Sample("bomb.gif", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b";", "failed")
    bmp = bytearray(formats()["plain.bmp"])
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    yield Sample("bomb.bmp", bytes(bmp), "failed")
    bmp[18:26] = struct.pack("<ii", -96, 2**31 - 1)
    yield Sample("bomb-negative.bmp", bytes(bmp), "failed")
    yield Sample("bomb.ppm", b"P6 100000 100000 255\n" + bytes(100), "failed")
    yield Sample("bomb-digits.ppm", b"P6 " + b"9" * 5000 + b" 1 255\n", "failed")
    webp = struct.pack("<I", (16382 & 0x3FFF) | (16382 << 14))
    yield Sample("bomb.webp", b"RIFF\x30\0\0\0WEBPVP8L\x20\0\0\0\x2f" + webp + bytes(40), "failed")
    header = struct.pack(">IIBBBBB", 96, 64, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in scene()))
    flood = zlib.compress(bytes(80_000_000))
    yield Sample("bomb-text.png", _png(header, rows, chunk(b"zTXt", b"a\0\0" + flood)), "either")
    yield Sample("bomb-profile.png", _png(header, rows, chunk(b"iCCP", b"a\0\0" + flood)), "either")
    yield Sample("flood.png", _png(header, flood), "either")


def _no_pictures() -> Iterator[Sample]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jpg", formats()["plain.jpg"])
    texts = {
        "empty": b"",
        "one-byte": b"\xff",
        "text": b"Dear diary, today I renamed a letter to photo.jpg.\n" * 9,
        "html": b"<!doctype html><title>404 Not Found</title>" * 20,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>',
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
        "zip": packed.getvalue(),
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "script": b"#!/bin/sh\nexit 1\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(%stdin) (w) file\n",
        "utf16": "photo".encode("utf-16") * 40,
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "noise": np.random.default_rng(3).bytes(5000),
    }
    for name, data in texts.items():
        for end in ("jpg", "png", "tif"):
            yield Sample(f"{name}-{end}.{end}", data, "failed")
    magics = (
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x40\0\0\0WEBP",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"P6 ",
    )
    magics += (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic", b"II+\0")
    for n, magic in enumerate(magics):
        for m, rest in enumerate((b"", bytes(400), np.random.default_rng(n).bytes(400))):
            yield Sample(f"magic-{n}-{m}.jpg", magic + rest, "failed")


def _cut() -> Iterator[Sample]:
    for name, data in formats().items():
        if name.split(".")[0] in ("plain", "progressive", "lzw", "interlaced"):
            stem, end = name.split(".")
            for share in (0.02, 0.2, 0.5, 0.8, 0.99):
                fate: Fate = "failed" if share <= 0.5 else "either"
                yield Sample(f"cut-{stem}-{end}-{share}.{end}", data[: int(len(data) * share)], fate)
    yield Sample("headless.jpg", formats()["plain.jpg"][2:], "failed")
    yield Sample("late.jpg", b"\n\n\n" + formats()["plain.jpg"], "failed")


def _flipped() -> Iterator[Sample]:
    for name, data in formats().items():
        random = np.random.default_rng(len(data))
        for n in range(3):
            damaged = bytearray(data)
            for place in random.integers(0, len(data) if n else min(64, len(data)), 1 + 3 * n):
                damaged[place] ^= 1 << int(random.integers(8))
            stem, end = name.split(".")
            yield Sample(f"flipped-{stem}-{end}-{n}.{end}", bytes(damaged), "either")


def _holes() -> Iterator[Sample]:
    for name, data in formats().items():
        half = len(data) // 2
        yield Sample(f"hole-{name}", data[:half] + bytes(len(data) - half), "either")


def _patched() -> Iterator[Sample]:
    jpg, png = formats()["plain.jpg"], formats()["plain.png"]
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB):  # other codings (C9, CA: arithmetic) over Huffman data
        yield Sample(f"coding-{marker:x}.jpg", jpg.replace(b"\xff\xc0", bytes((0xFF, marker)), 1), "either")
    yield Sample("no-tables.jpg", jpg.replace(b"\xff\xdb", b"\xff\xe9"), "failed")
    yield Sample("no-huffman.jpg", jpg.replace(b"\xff\xc4", b"\xff\xe9"), "either")
    yield Sample("no-end.jpg", jpg[:-2], "either")
    yield Sample("no-end.png", png[:-12], "either")
    yield Sample("wrong-crc.png", png[:40] + bytes((png[40] ^ 255,)) + png[41:], "either")
    header = struct.pack(">IIBBBBB", 96, 64, 8, 2, 0, 0, 0)
    yield Sample("no-data.png", _png(header, b""), "failed")
    yield Sample("unknown-chunk.png", _png(header, zlib.compress(bytes(64 * 289)), chunk(b"ABCD", b"x")), "either")
    for depth, kind in ((3, 2), (8, 1), (16, 3), (8, 7), (0, 0)):
        bad = struct.pack(">IIBBBBB", 96, 64, depth, kind, 0, 0, 0)
        yield Sample(f"depth-{depth}-{kind}.png", _png(bad, zlib.compress(bytes(99999))), "failed")
    yield Sample("no-frames.gif", b"GIF89a\x60\0\x40\0\0\0\0;", "failed")
    tif = formats()["plain.tif"]
    yield Sample("circle.tif", tif[:4] + struct.pack("<I", 8) + bytes(len(tif) - 8), "failed")
    yield Sample("swapped.tif", b"MM\0*" + tif[4:], "failed")
