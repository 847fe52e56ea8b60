"""Pictures: bytes to pixels, pixels to tensors, tensors to files. The only module that knows all three.

Host pictures are uint8 H x W x 3, RGB, sRGB, upright; device pictures are float32 n x 3 x H x W in [-1, 1], RGB.
What a file *is* is read from its bytes, never from its suffix. A file that cannot be used raises `PhotoError` with
one of the codes ``empty-file``, ``not-an-image``, ``truncated``, ``damaged``, ``too-large``, ``too-small``,
``needs-heic``, ``vanished``, ``not-a-file``, ``unreadable``.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from pipelines.errors import OutputError, PhotoError, UsageError
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
_FULL, _DENIED = "free some space and run the same command again", "choose another folder with --output"
_DISK_TROUBLE = {
    errno.ENOSPC: f"the disk is full; {_FULL}",
    errno.EDQUOT: f"the disk quota is used up; {_FULL}",
    errno.EROFS: f"the file system is read-only; {_DENIED}",
    errno.EACCES: f"permission is denied; {_DENIED}",
}


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


def decode(data: bytes) -> U8Image:
    """Decode a photo of any common format: upright, sRGB, no alpha.

    The EXIF orientation is applied; of an animation the first frame counts; 16-bit and float grey is scaled to 8 bit;
    pixels of a wide-gamut or CMYK file with an embedded ICC profile are converted to sRGB, so that a saved result
    needs no profile; transparency is laid over white, as every viewer shows it and as studio portraits look (the
    colour hidden below transparent pixels is arbitrary).

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
            return np.array(_upright(_composed(_plain(picture)), picture))
    except (PhotoError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise PhotoError("too-large", "the picture claims more than 400 megapixels; 200 are the limit") from None
    except Exception as error:  # decoders of hostile bytes raise anything; it must stay this one photo's failure
        raise _broken(error) from None


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


def to_tensor(images: Sequence[U8Image]) -> Tensor:
    """n pictures uint8 H x W x 3 of one size -> n x 3 x H x W float32 in [-1, 1], contiguous, on the CPU.

    Raises ValueError where the list is empty or sizes differ.
    """
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


def to_uint8(tensor: Tensor) -> list[U8Image]:
    """n x 3 x H x W in [-1, 1] (clamped, rounded to the nearest level) -> n pictures uint8 H x W x 3.

    The exact inverse of `to_tensor`; computed on the tensor's device: only bytes travel. Raises ValueError on NaN.
    """
    levels = tensor.detach().to(torch.float32).add(1.0).mul_(127.5)
    if bool(levels.isnan().any()):
        raise ValueError("the picture holds NaN; the model that made it diverged")
    pixels = levels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return list(pixels.cpu().numpy())


def resize_area(tensor: Tensor, size: int) -> Tensor:
    """n x C x H x W -> n x C x size x size, antialiased; the one way to shrink pictures on a device.

    A whole-number reduction is the mean over each cell (what every encoder of this field was trained with: the
    1024 -> 256 pooling of Richardson et al. 2021, "Encoding in Style"); any other factor is a triangle filter as wide
    as the reduction (`antialias=True`); enlarging is plain bilinear. Differentiable.
    """
    height, width = tensor.shape[-2:]
    if height == size and width == size:
        return tensor
    if height % size == 0 and width % size == 0:
        return F.avg_pool2d(tensor, (height // size, width // size))
    return F.interpolate(tensor, (size, size), mode="bilinear", antialias=True, align_corners=False)


def resize_u8(image: U8Image, width: int, height: int) -> U8Image:
    """uint8 H x W x 3 -> height x width x 3, antialiased: the cells' mean (whole-number reductions), else Lanczos."""
    rows, columns = image.shape[:2]
    whole = columns % width == 0 and rows % height == 0
    method = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(image).resize((width, height), method))


def encode(image: U8Image, format: str, quality: int = 95) -> bytes:
    """uint8 H x W x 3, RGB -> the bytes of a ``png``, ``jpg`` or ``webp`` file; the same bytes every time.

    PNG ignores `quality`; its level 1 writes a 1024 px face in 70 ms and 1.55 MB (level 6: 400 ms, 1.44 MB).
    JPEG keeps full colour resolution from quality 90 on. Raises UsageError for another format.
    """
    options: dict[str, dict[str, object]] = {
        "png": {"format": "PNG", "compress_level": 1},
        "jpg": {"format": "JPEG", "quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "webp": {"format": "WEBP", "quality": quality, "method": 2},
    }
    if format not in options:
        raise UsageError(f"unknown picture format '{format}'; known: {', '.join(options)}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options[format])  # type: ignore[arg-type]
    return buffer.getvalue()


def write_atomic(path: Path, data: bytes, durable: bool = False) -> None:
    """Write a file so that nobody ever sees half of it: a unique ``.part`` beside it, then a rename.

    Parent folders are made; `durable` forces the bytes onto the disk first (slow). Raises OutputError with one
    sentence; the part file does not stay behind.
    """
    # Cut to 40 characters: name plus token stays below the usual limit of 255 bytes even in four-byte scripts.
    part = path.with_name(f"{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        reason = _DISK_TROUBLE.get(error.errno or 0, f"{error.strerror or error}; choose another --output")
        raise OutputError(f"cannot write '{path}': {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
