"""The photos that a run reads: where each lies and what it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.records.manifest import Stat
from pipelines.types import Failure, Quad

FACE = "face"  # the kind of output that `align` writes
LATENTS = "latents"  # the kind of output that marks an inverted item
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


def split_key(relative: str) -> tuple[str, str]:
    """POSIX path -> (key, suffix with its dot), as pathlib sees them, but fast."""
    start = relative.rfind("/") + 1
    dot = relative.rfind(".")
    return (relative[:dot], relative[dot:]) if start < dot < len(relative) - 1 else (relative, "")
