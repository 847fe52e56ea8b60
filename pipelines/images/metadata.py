"""What a photo's file says beside its pixels: read, and written again for a photo that was set upright and edited."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, JpegImagePlugin, TiffImagePlugin

_ORIENTATION, _GPS, _EXIF_IFD = 0x0112, 0x8825, 0x8769
_XMP = 700
_SIZES = (0xA002, 0xA003)  # width and height of the pixels, in the EXIF directory
# Places in the file; what has a way of its own (profile, IPTC) or shows the unedited face (small copies).
_POINTERS = {_EXIF_IFD, _GPS, 0xA005, 0x014A, 0x0201, 0x0202, _XMP, 33723, 34377, 34675}
_TIFF_OWN = {*range(0x00FE, 0x010E), 0x0111, *range(0x0115, 0x011D), 0x0128, 0x013D, *range(0x0140, 0x0160)}
_XMP_TURN = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d")
_XMP_GPS = re.compile(rb"\s*exif:GPS\w+=(\"[^\"]*\"|'[^']*')|<exif:GPS(\w+)[^>]*>.*?</exif:GPS\2>", re.DOTALL)
# The property as an attribute or as an element, whose value is a text or a resource.
_XMP_SOURCE = re.compile(
    rb"\s*Iptc4xmpExt:DigitalSourceType=(?:\"[^\"]*\"|'[^']*')"
    rb"|<Iptc4xmpExt:DigitalSourceType(?:[^>]*/>|[^>]*>.*?</Iptc4xmpExt:DigitalSourceType>)",
    re.DOTALL,
)
_ALTERED = (
    b'<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about=""'
    b' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    b"<Iptc4xmpExt:DigitalSourceType>"
    b"http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    b"</Iptc4xmpExt:DigitalSourceType></rdf:Description>"
)
_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%s</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
# Chunks that speak of the file's own coding, of further frames, or that are made anew.
_PNG_LEFT_OUT = {
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"hIST",
    b"bKGD",
    b"sPLT",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
}
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_RAW_EXIF = b"Raw profile type"


@dataclass(frozen=True)
class Metadata:
    """EXIF (read, not yet put right), XMP, a JPEG's IPTC segments, a PNG's other chunks, size of the upright photo."""

    exif: Image.Exif | None
    xmp: bytes | None
    segments: bytes
    chunks: tuple[tuple[bytes, bytes], ...]
    turned: bool


def read(picture: Image.Image, data: bytes) -> Metadata:
    """What can be read; a broken block is left out."""
    try:
        exif = picture.getexif()
        exif.get_ifd(_EXIF_IFD)
        exif.get_ifd(_GPS)
        turned = exif.get(_ORIENTATION, 1) in (5, 6, 7, 8) and picture.format != "HEIF"
    except Exception:  # a broken EXIF block raises anything, and the pixels are fine
        exif, turned = None, False
    xmp = picture.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    segments = b"".join(_iptc(data)) if picture.format in ("JPEG", "MPO") else b""
    chunks = tuple(_png_chunks(data)) if picture.format == "PNG" else ()
    return Metadata(exif if exif else None, xmp, segments, chunks, turned)


def jpeg_coding(picture: Image.Image) -> dict[str, Any]:
    """Tables, subsampling and order of a JPEG, as Pillow's writer takes them."""
    tables = getattr(picture, "quantization", {})
    layer = getattr(picture, "layer", [])
    used = [tables[component[3]] for component in layer[: 2 if len(layer) == 3 else 1] if component[3] in tables]
    sampling = JpegImagePlugin.get_sampling(picture)
    coding: dict[str, Any] = {"subsampling": sampling if sampling >= 0 else 0}
    coding.update({"qtables": used} if used else {"quality": 95})
    if picture.info.get("progressive") or picture.info.get("progression"):
        coding["progressive"] = True
    return coding


def options(kept: Metadata, info: Mapping[Any, Any], format: str, keep_gps: bool) -> dict[str, Any]:
    """Options of Pillow's writer for what its format can hold."""
    found: dict[str, Any] = {"icc_profile": info.get("icc_profile")}
    if format in ("JPEG", "WEBP", "PNG", "TIFF"):
        exif, xmp = exif_bytes(kept, keep_gps, tiff=format == "TIFF"), xmp_bytes(kept, keep_gps)
        found.update({"exif": exif} if exif else {}, **({"xmp": xmp} if xmp and format in ("JPEG", "WEBP") else {}))
        if xmp and format == "TIFF":
            directory = TiffImagePlugin.ImageFileDirectory_v2()
            directory.tagtype[_XMP], directory[_XMP] = 1, xmp  # bytes
            found["tiffinfo"] = directory
    if format in ("JPEG", "PNG", "TIFF", "BMP"):
        found.update({"dpi": info["dpi"]} if "dpi" in info else {})
    if format == "JPEG":
        found.update({"extra": kept.segments}, **({"comment": info["comment"]} if "comment" in info else {}))
    return {name: value for name, value in found.items() if value}


def altered(kept: Metadata) -> Metadata:
    """The same with a note in the XMP: the photo is a composite that a trained model had a part in.

    The note is IPTC's property Digital Source Type (IPTC Photo Metadata Standard 2023.1) with the term of its news codes.
    An earlier source type, which holds no more, is replaced.
    """
    if kept.xmp and b"</rdf:RDF>" in kept.xmp:
        rest = _XMP_SOURCE.sub(b"", kept.xmp)
        place = rest.rindex(b"</rdf:RDF>")
        return replace(kept, xmp=rest[:place] + _ALTERED + rest[place:])
    # A packet without that end cannot be added to; it is left out.
    return replace(kept, xmp=_PACKET % _ALTERED)


def exif_bytes(kept: Metadata, keep_gps: bool, tiff: bool = False) -> bytes | None:
    """EXIF of the upright photo; without its small copy, which would show the unedited face."""
    if kept.exif is None:
        return None
    exif = Image.Exif()
    for tag, value in kept.exif.items():
        if tag not in _POINTERS and not (tiff and tag in _TIFF_OWN):
            exif[tag] = value
    for place in (_EXIF_IFD, _GPS):
        directory = dict(kept.exif.get_ifd(place))
        if kept.turned and all(tag in directory for tag in _SIZES):
            directory[_SIZES[0]], directory[_SIZES[1]] = directory[_SIZES[1]], directory[_SIZES[0]]
        if directory and (place != _GPS or keep_gps):
            exif.get_ifd(place).update(directory)
    if _ORIENTATION in exif:
        exif[_ORIENTATION] = 1
    try:
        return exif.tobytes()
    except Exception:  # values of types that no writer knows
        return None


def xmp_bytes(kept: Metadata, keep_gps: bool) -> bytes | None:
    """XMP of the upright photo."""
    if not kept.xmp:
        return None
    turned = _XMP_TURN.sub(rb"\g<1>1", kept.xmp)
    return turned if keep_gps else _XMP_GPS.sub(b"", turned)


def png_chunks(kept: Metadata, info: Mapping[Any, Any], keep_gps: bool) -> list[tuple[bytes, bytes]]:
    """Chunks to write before the pixels."""
    chunks = [chunk for chunk in kept.chunks if not _is_note(chunk[1])]
    if not kept.chunks and info.get("icc_profile"):
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(info["icc_profile"])))
    exif, xmp = exif_bytes(kept, keep_gps), xmp_bytes(kept, keep_gps)
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp:
        chunks.append((b"iTXt", _PNG_XMP + bytes(5) + xmp))
    return chunks


def _is_note(body: bytes) -> bool:
    return body.startswith((_PNG_XMP, _PNG_RAW_EXIF))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind not in _PNG_LEFT_OUT:
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _iptc(data: bytes) -> Iterator[bytes]:
    """A JPEG's APP13 segments, which hold IPTC's notes."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1] not in (0xDA, 0xD9):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xED:
            yield data[at : at + 2 + length]
        at += 2 + length
