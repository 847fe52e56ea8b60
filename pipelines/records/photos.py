"""A photo of an input, and the keys of its faces."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.records.manifest import Stat
from pipelines.types import Failure, Quad

FURTHER = re.compile(r"(.+)\.[1-9]\d*", re.DOTALL)  # the key of a further face


@dataclass(frozen=True)
class Origin:
    """Where an aligned crop was cut from: the photo's path, its sha256, and the crop's corners in it."""

    path: str
    digest: str
    quad: Quad


@dataclass(frozen=True)
class Photo:
    """One file to read.

    Attributes:
        key: path relative to the input, POSIX, without suffix.
        path: absolute path, URL, or ``ARCHIVE::MEMBER``.
        origin: the photo that this crop came from (input was a folder of `align`), for pasting back.
        cut: crop the photo by these corners instead of searching it (input was a folder of `invert --align`);
            `cut.path` equals `path`.
        trusted: an earlier run vouches that the file is an aligned crop.
        span: (offset, size) of a member in its archive.
        stat: what the remote store's listing said of the file.
        trouble: why it cannot be read at all, known from the listing (what is missing of a cut off archive).
        linked: the path may be a link; False where its folder's listing says that it is none.
        group: (key, path) of all crops that are pasted into one photo, this one among them, where they are several;
            the first gives the pasted photo its name. They follow each other (`engine.input.groups`).
    """

    key: str
    path: str
    origin: Origin | None = None
    cut: Origin | None = None
    trusted: bool = False
    span: tuple[int, int] | None = None
    stat: Stat | None = None
    trouble: Failure | None = None
    linked: bool = True
    group: tuple[tuple[str, str], ...] = ()

    @property
    def follows(self) -> bool:
        """Whether it belongs to the photo before it: it goes where that goes."""
        return bool(self.group) and self.group[0][0] != self.key


def face_keys(key: str, faces: int) -> list[str]:
    """The items of a photo: KEY, KEY.1, KEY.2, ..."""
    return [key, *(f"{key}.{face}" for face in range(1, faces))]
