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

from PIL import Image, UnidentifiedImageError

from pipelines.errors import PhotoError
from pipelines.images.jpeg import NO_END_MARKER, lacks_rows, mended
from pipelines.images.rendering import note_depth, rendered
from pipelines.types import U8Image

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
_SUFFIXES = """jpg jpeg jpe jfif mpo png apng webp avif bmp dib gif tif tiff jp2 j2k jpx ppm pgm pbm pnm"""
IMAGE_SUFFIXES = HEIF_SUFFIXES | {f".{name}" for name in _SUFFIXES.split()}
"""Lower-case suffixes that the search of a folder takes for photos."""

MAX_PIXELS = 200_000_000  # the largest phone sensors (16320 x 12240) are just below
MAX_BYTES = 1 << 30
_MAX_MEMORY = 2_400_000_000  # what one photo may take while it is decoded
_BYTES = {"JPEG2000": 20, "WEBP": 16}  # bytes a pixel of the greedy decoders, measured; all others stay below 12
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


def decode(data: bytes, shrink: int = 1, notes: list[str] | None = None) -> U8Image:
    """Decode a photo of any common format: upright, sRGB, no alpha.

    The EXIF orientation is applied; of an animation the first frame counts; 16-bit and float pixels are scaled to 8 bit
    by the range that the file declares or evidently uses; what an embedded ICC profile, or gAMA and cHRM of a PNG,
    says of the colours is converted to sRGB by its numbers, so that a saved result needs no profile; transparency is laid
    over white, as every viewer shows it and as studio portraits look (the colour hidden below transparent pixels is
    arbitrary).

    Args:
        data: the whole file.
        shrink: 1, 2, 4 or 8: read a JPEG at that reduced scale (see `jpeg_size`). Each result pixel then stands for a
            block of `shrink` x `shrink` pixels, sides rounded up; the decoder leaves the higher frequencies out, which
            is an antialiased reduction. ValueError for other numbers, and where the file is not such a JPEG.
        notes: takes a sentence for each thing that a person should know of a photo that was used all the same.

    Returns:
        uint8 H x W x 3, RGB, its own memory. On the way the picture lies in memory once more, in the file's own mode:
        1 (grey) to 4 bytes a pixel, 1.4 GB in all for 200 megapixels; progressive JPEGs, JPEG 2000, WebP and AVIF
        take what their decoders take (docs/inputs.md), and are refused where that is more than 2.4 GB.

    Raises:
        PhotoError: see above. A file that ends early is refused: half a face would be inverted as if it were real.
    """
    if not data:
        raise PhotoError("empty-file", "the file is empty; copy it again from where it came from")
    try:
        with quiet():
            data, unmarked = mended(data)
            if unmarked and notes is not None:
                notes.append(NO_END_MARKER)
            with open_photo(data) as picture:
                return _pixels(picture, data, shrink)
    except (PhotoError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise PhotoError("too-large", "the picture claims more than 400 megapixels; 200 are the limit") from None
    except Exception as error:  # decoders of hostile bytes raise anything; it must stay this one photo's failure
        raise _broken(error) from None


def _pixels(picture: Image.Image, data: bytes, shrink: int) -> U8Image:
    _check_size(picture)
    if shrink != 1:
        _draft(picture, shrink)
    note_depth(picture)
    picture.load()
    corner = (picture.width - 1, picture.height - 1)
    if picture.format in ("JPEG", "MPO") and lacks_rows(data, picture.getpixel(corner)):  # type: ignore[arg-type]
        raise PhotoError("truncated", "the JPEG lacks its last rows; copy it again from its source")
    return rendered(picture, data, turn_of(picture))


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height), upright, of a JPEG that can be decoded at a reduced scale; None for every other file.

    Reads the header alone and raises nothing: what is wrong with a file, `decode` says.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        with quiet(), Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
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
def quiet() -> Iterator[None]:
    """Pillow warns about odd metadata on stderr; only its own warnings are kept quiet, and only meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)|pillow_heif")
        yield


def open_photo(data: bytes) -> Image.Image:
    """A picture of a known format, its pixels not read yet; PhotoError for anything else."""
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


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    limit = min(MAX_PIXELS, _MAX_MEMORY // _BYTES.get(picture.format or "", 12))
    if width * height > limit:
        sentence = f"the picture claims {width} x {height} px; {limit // 1_000_000} megapixels are the limit"
        raise PhotoError("too-large", sentence)
    if min(width, height) < MIN_SIDE:
        raise PhotoError("too-small", f"the picture has {width} x {height} px; a face needs at least {MIN_SIDE} px")


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """What sets a picture upright; metadata that cannot be read turns nothing."""
    try:
        orientation = picture.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block raises anything, and the pixels are fine
        return None
    return None if picture.format == "HEIF" else _TURNS.get(orientation)  # HEIF readers turn by the file's own boxes


def _broken(error: Exception) -> PhotoError:
    text = str(error).lower()
    if isinstance(error, EOFError) or any(word in text for word in ("truncat", "unexpected end", "not enough data")):
        return PhotoError("truncated", "the file ends before the picture is complete; copy it again from its source")
    return PhotoError("damaged", f"the picture cannot be decoded ({error or type(error).__name__}); copy it again")
