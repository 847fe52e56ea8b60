"""Edited crops back into their photos, in the writing threads: `photos/EDIT/KEY.jpg`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial

from pipelines.engine.output.writer import OutFile
from pipelines.engine.reading.reader import read_source
from pipelines.engine.stage import WorkFace
from pipelines.engine.types import Origin
from pipelines.errors import PhotoError
from pipelines.images.pixels import decode, encode
from pipelines.types import Quad, U8Image

Blend = Callable[[U8Image, U8Image, Quad, U8Image], U8Image]
"""(photo, edited crop, quad, inversion) -> photo, pictures uint8 H x W x 3; see `pipelines.stages.paste.paste`."""


def make_paster(blend: Blend) -> Callable[[WorkFace, dict[str, U8Image]], tuple[OutFile, ...]]:
    """What `ChainWork` calls for the files of an item's pasted photos; nothing where its place is not known.

    Edits are compared with the inversion, so that only what the edit did changes the photo, not what inversion lost.
    """

    def paster(face: WorkFace, pictures: dict[str, U8Image]) -> tuple[OutFile, ...]:
        origin = origin_of(face)
        if origin is None:
            return ()
        photo = _LazyPhoto(origin)
        files = []
        for kind in face.missing:
            edit = kind.removeprefix("photos/")
            if kind.startswith("photos/") and edit in pictures:
                make = partial(_pasted, blend, photo, pictures[edit], origin.quad, pictures["inversion"])
                files.append(OutFile(kind, f"{kind}/{face.record.key}.jpg", make))
        return tuple(files)

    return paster


def origin_of(face: WorkFace) -> Origin | None:
    """The photo that a face was cut from and where, in this run or by an earlier `align`."""
    if face.record.quad is not None:
        return Origin(face.record.source, face.record.digest, face.record.quad)
    return face.photo.origin


class _LazyPhoto:
    """Decoded once per item, when the first of its files is made."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._guard = threading.Lock()
        self._picture: U8Image | None = None

    def get(self) -> U8Image:
        """The whole photo, uint8 H x W x 3; raises PhotoError where it is gone or not the one that was aligned."""
        with self._guard:
            if self._picture is None:
                data = read_source(self._origin.path)
                if hashlib.sha256(data).hexdigest() != self._origin.digest:
                    raise PhotoError(
                        "changed", f"'{self._origin.path}' has changed since its face was cut; align again"
                    )
                self._picture = decode(data)
            return self._picture


def _pasted(blend: Blend, photo: _LazyPhoto, edited: U8Image, quad: Quad, inverted: U8Image) -> bytes:
    return encode(blend(photo.get(), edited, quad, inverted), "jpg")
