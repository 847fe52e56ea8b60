"""Bytes of a photo file -> pixels: any common format, upright, sRGB; JPEGs also at a half, a quarter or an eighth.

What a file *is* is read from its bytes, never from its suffix. A file that cannot be used raises `PhotoError` with
one of the codes ``empty-file``, ``not-an-image``, ``truncated``, ``damaged``, ``too-large``, ``too-small``,
``needs-heic``, ``vanished``, ``not-a-file``, ``unreadable``.
"""

from __future__ import annotations

import contextlib
import io
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from pipelines.errors import PhotoError
from pipelines.types import U8Image

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_SUFFIXES = """jpg jpeg jpe jfif mpo png apng webp avif bmp dib gif tif tiff jp2 j2k jpx ppm pgm pbm pnm"""
IMAGE_SUFFIXES = HEIF_SUFFIXES | {f".{name}" for name in _SUFFIXES.split()}
"""Lower-case suffixes that the search of a folder takes for photos."""

MAX_PIXELS = 200_000_000  # the largest phone sensors (16320 x 12240) are just below
MAX_BYTES = 1 << 30
MIN_SIDE = 32  # nothing smaller holds a face that any detector finds

# Pillow refuses above twice its own limit of 89 million pixels, which is below today's largest phones; the real
# check is ours, on the header's size and before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Not every format that Pillow knows: EPS would start Ghostscript, TGA has no signature
# (any bytes might be one), and fax or movie formats hold no photos.
_FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM"]
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"})
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
# EXIF orientation 2 to 8 -> what sets the picture upright
_TURNS = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))


def read_photo(path: Path) -> bytes:
    """All bytes of a photo file.

    Raises PhotoError: ``vanished``, ``not-a-file`` (folder, pipe, device), ``too-large`` (over 1 GB), ``unreadable``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise PhotoError("not-a-file", f"'{path}' is not a regular file; give the path of a photo")
        if status.st_size > MAX_BYTES:
            raise PhotoError("too-large", f"'{path}' has {status.st_size:,} bytes, more than a photo can have")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoError("vanished", f"'{path}' is not there any more; run again once it is back") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PhotoError("unreadable", f"'{path}' cannot be read ({reason}); check its permissions") from None


def decode(data: bytes, shrink: int = 1) -> U8Image:
    """Decode a photo of any common format: upright, sRGB, no alpha.

    The EXIF orientation is applied; of an animation the first frame counts; 16-bit and float grey is scaled to 8 bit;
    pixels of a wide-gamut or CMYK file with an embedded ICC profile are converted to sRGB, so that a saved result
    needs no profile; transparency is laid over white, as every viewer shows it and as studio portraits look (the
    colour hidden below transparent pixels is arbitrary).

    Args:
        data: the whole file.
        shrink: 1, 2, 4 or 8: read a JPEG at that reduced scale (see `jpeg_size`). Each result pixel then stands for a
            block of `shrink` x `shrink` pixels, sides rounded up; the decoder leaves the higher frequencies out, which
            is an antialiased reduction. ValueError for other numbers, and where the file is not such a JPEG.

    Returns:
        uint8 H x W x 3, RGB, its own memory.

    Raises:
        PhotoError: see above. A file that ends early is refused: half a face would be inverted as if it were real.
    """
    if not data:
        raise PhotoError("empty-file", "the file is empty; copy it again from where it came from")
    try:
        with _quiet(), _open(data) as picture:
            _check_size(*picture.size)
            if shrink != 1:
                _draft(picture, shrink)
            return np.array(_upright(_composed(_plain(picture)), picture))
    except (PhotoError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise PhotoError("too-large", "the picture claims more than 400 megapixels; 200 are the limit") from None
    except Exception as error:  # decoders of hostile bytes raise anything; it must stay this one photo's failure
        raise _broken(error) from None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height), upright, of a JPEG that can be decoded at a reduced scale; None for every other file.

    Reads the header alone and raises nothing: what is wrong with a file, `decode` says.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        with _quiet(), Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.format != "JPEG":  # a file of several pictures (MPO) is read by another class
                return None
            width, height = picture.size
            sideways = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Exception:  # any trouble: the ordinary way meets it again and names it
        return None
    return (height, width) if sideways else (width, height)


def _draft(picture: Image.Image, shrink: int) -> None:
    """Tell libjpeg to leave out the upper frequencies of its 8 x 8 blocks."""
    if shrink not in (2, 4, 8) or picture.format != "JPEG":
        raise ValueError(f"only a JPEG can be read at 1/{shrink} of its size, and only at 1/2, 1/4 or 1/8")
    width, height = picture.size
    # Pillow takes the smallest size that is not below the one asked for: rounded down, it is the wanted scale.
    picture.draft(None, (max(1, width // shrink), max(1, height // shrink)))
    wanted = (-(-width // shrink), -(-height // shrink))
    if picture.size != wanted:
        raise ValueError(f"the decoder gives {picture.size} instead of {wanted}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata on stderr; only its own warnings are kept quiet, and only meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)|pillow_heif")
        yield


def _open(data: bytes) -> Image.Image:
    if _is_heif(data):
        return _open_heif(data)
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        if data.startswith(_MAGICS):
            raise PhotoError(
                "truncated", "the file starts like a picture but its header is cut off or broken"
            ) from None
        raise PhotoError(
            "not-an-image", "the file is not a picture of a known format, whatever its name says"
        ) from None


def _is_heif(data: bytes) -> bool:
    """HEVC pictures in an ISO file; an AVIF lists ``avif`` among its brands and is Pillow's own business."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    brands = {data[at : at + 4] for at in range(8, end - 3, 4) if at != 12}  # at 12 lies a version number
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def _open_heif(data: bytes) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError("needs-heic", "a HEIC photo; install its reader: pip install 'ganinv[heic]'") from None
    pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(data), formats=["HEIF"])


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError("too-large", f"the picture claims {width} x {height} px; 200 megapixels are the limit")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("too-small", f"the picture has {width} x {height} px; a face needs at least {MIN_SIDE} px")


def _plain(picture: Image.Image) -> Image.Image:
    """Any Pillow mode -> L, RGB, RGBA or CMYK with 8 bits, its ICC profile still in `info`."""
    picture.load()
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_deep(picture)
    if picture.mode in ("PA", "LA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture if picture.mode in ("L", "RGB", "RGBA", "CMYK") else picture.convert("RGB")


def _from_deep(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey -> L. Floats carry no range: the smallest usual one that holds the maximum."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float32), posinf=0.0, neginf=0.0)
    peak = float(values.max())
    ranges = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0, 4294967295.0)
    white = next((white for white in ranges if peak <= white), peak)
    return Image.fromarray(np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8))


def _composed(picture: Image.Image) -> Image.Image:
    """L, RGB, RGBA or CMYK -> RGB: profile applied, alpha laid over white."""
    picture = _to_srgb(picture)
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255):
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Apply an embedded profile other than sRGB; a profile that does not fit its picture is ignored, as viewers do."""
    embedded = picture.info.get("icc_profile")
    if not embedded:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    return converted or picture


def _upright(picture: Image.Image, original: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation of `original`; metadata that cannot be read turns nothing."""
    try:
        orientation = original.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block raises anything, and the pixels are fine
        return picture
    if original.format == "HEIF" or orientation not in _TURNS:  # HEIF readers turn by the file's own boxes
        return picture
    return picture.transpose(_TURNS[orientation])


def _broken(error: Exception) -> PhotoError:
    text = str(error).lower()
    if isinstance(error, EOFError) or any(word in text for word in ("truncat", "unexpected end", "not enough data")):
        return PhotoError("truncated", "the file ends before the picture is complete; copy it again from its source")
    return PhotoError("damaged", f"the picture cannot be decoded ({error or type(error).__name__}); copy it again")
