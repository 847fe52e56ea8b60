"""Whether a JPEG holds every pixel: files that lack their end marker, and files that lack rows.

Markers and their order: ITU-T T.81, annex B. libjpeg fills what is missing with flat grey and says nothing, so the
question is put to it several times, with different tails behind the file's own data. Where the pictures differ, the tail
was read, and the file is not whole.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field

from PIL import Image

from pipelines.errors import PhotoError

END = b"\xff\xd9"
NO_END_MARKER = "a JPEG without an end marker was used, as every pixel is there"

_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # in a scan, FF 00 is a byte and D0 to D7 restart the decoder
_WORDS = re.compile(rb"[A-Za-z_]{14,}")  # what phones append names its parts; coded pixels hold no words
# Nothing (what is missing is grey then), and two that no decoder reads alike, longer than any block.
_TAILS = (END, b"\x13\x57\x9b\xdf\x24" * 800 + END, b"\xaa\x55" * 2000 + END)


@dataclass
class Scans:
    """What the markers of a JPEG say.

    Attributes:
        end: where the coded data of the last scan ends.
        marked: an end marker follows there.
        missing: component and coefficient -> lowest bit that is still to come, of a progressive picture.
    """

    end: int = 0
    marked: bool = False
    progressive: bool = False
    missing: dict[tuple[int, int], int] = field(default_factory=dict)

    def frame(self, body: bytes, progressive: bool) -> None:
        self.progressive = progressive
        self.missing = {(body[at], k): 16 for at in range(6, len(body) - 2, 3) for k in range(64)}

    def scan(self, body: bytes) -> None:
        count = body[0]
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        for at in range(1, 1 + 2 * count, 2):
            self.missing.update({(body[at], k): bits & 15 for k in range(first, min(last, 63) + 1)})


def mended(data: bytes) -> tuple[bytes, bool]:
    """A JPEG whose end marker is missing, with one behind its last row; every other file as it is, and False.

    Raises PhotoError ``truncated`` where rows are missing, too.
    """
    if not data.startswith(b"\xff\xd8\xff") or data.endswith(END):
        return data, False
    try:
        scans = _scans(data)
    except (IndexError, ValueError):  # cut off within a header
        return data, False
    if scans.marked or not scans.end:
        return data, False
    body = _coded(data[: scans.end])
    if not _whole(body, scans):
        raise PhotoError("truncated", "the JPEG ends before its last row; copy it again from its source")
    return body + END, True


def lacks_rows(data: bytes, corner: int | tuple[int, ...]) -> bool:
    """Whether a JPEG with an end marker was cut off before; `corner` is its last pixel, as decoded.

    What is missing is decoded as medium grey: only then the file is looked at again.
    """
    values = (corner,) if isinstance(corner, int) else corner
    if any(value not in (127, 128) for value in values):
        return False
    scans = _scans(data)
    return scans.marked and not _whole(data[: scans.end], scans)


def _scans(data: bytes) -> Scans:
    scans, at = Scans(), 2
    while found := _MARKER.search(data, at):
        kind = data[found.end() - 1]
        if kind == 0xD9 or (scans.end and kind not in (0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0))):
            return _ended(scans, found.start(), kind == 0xD9)
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        body = data[found.end() + 2 : found.end() + length]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            scans.frame(body, kind in (0xC2, 0xC6, 0xCA, 0xCE))
        if kind == 0xDA:
            scans.scan(body)
            scans.end = len(data)
        at = found.end() + max(2, length)
    return scans


def _ended(scans: Scans, at: int, marked: bool) -> Scans:
    scans.end, scans.marked = at if scans.end else 0, marked
    return scans


def _coded(data: bytes) -> bytes:
    """Without what phones append, and without the zeros of a copy that never came (four may be the pixels' own)."""
    words = next((found for found in _WORDS.finditer(data, data.rfind(b"\xff\xda")) if len(set(found[0])) > 5), None)
    coded = data[: words.start()] if words else data
    bare = coded.rstrip(b"\0")
    return coded[: len(bare) + 4]


def _whole(body: bytes, scans: Scans) -> bool:
    """Whether no decoder needs a bit behind `body`."""
    if scans.progressive and any(scans.missing.values()):
        return False
    return len({_digest(body + tail, scans.progressive) for tail in _TAILS}) == 1


def _digest(data: bytes, full: bool) -> bytes:
    """Of the pixels; at an eighth of the size, where one scan holds all that belongs to a block."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        if not full:
            picture.draft(None, (max(1, picture.width // 8), max(1, picture.height // 8)))
        picture.load()
        digest = hashlib.blake2b()
        for top in range(0, picture.height, 256):
            digest.update(picture.crop((0, top, picture.width, min(top + 256, picture.height))).tobytes())
        return digest.digest()
