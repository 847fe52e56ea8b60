"""What flows through a run: a photo, what was read of it, a face in work, and what is to be written of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pipelines.records.manifest import Record, Stat
from pipelines.records.outputs import FACE, LATENTS, Output
from pipelines.types import F32Array, Failure, Quad, U8Image

__all__ = ["FACE", "LATENTS"]
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


@dataclass(frozen=True)
class LoadedFace:
    """One aligned face.

    Attributes:
        crop: uint8 R x R x 3, RGB.
        quad: the crop's corners in the photo; None where the file is the crop.
        landmarks: 68 x 2 shares of the crop's side, NaN where no face was found; None where nobody asked.
        pixels: sha256 of `crop`, hex: equal pixels have equal codes, however they were cut ("" where nobody asked).
        scores: ``detector`` (its confidence), ``misalignment`` (share of the side, see `stages.align.aligner.misalignment`).
        found: the way in which it was found; "" where nobody searched.
    """

    crop: U8Image
    quad: Quad | None = None
    landmarks: F32Array | None = None
    pixels: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    found: str = ""


@dataclass(frozen=True)
class Loaded:
    """What became of one photo: its faces, or a failure, or (`unchanged`) bytes that were finished before.

    `index` is the photo's place in the run; `ms` the time per stage; `stat` and `notes` as in the manifest's record.
    """

    index: int
    digest: str = ""
    stat: Stat | None = None
    faces: tuple[LoadedFace, ...] = ()
    failure: Failure | None = None
    unchanged: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One photo to read; `known` is the digest whose items are finished, "" where none is."""

    index: int
    photo: Photo
    known: str = ""


@dataclass(frozen=True)
class PastePlace:
    """Where a face belongs in a photo that is pasted, `place` of the `count` faces that are waited for.

    Attributes:
        name: the photo's key.
        origin: the photo, and the face's corners in it.
    """

    name: str
    place: int
    count: int
    origin: Origin


@dataclass(frozen=True)
class FaceJob:
    """A face on its way.

    Attributes:
        face: what was read.
        record: what is known so far, with the outputs of earlier runs that still hold.
        missing: what is still to be made; `fingerprint` is that of this item.
        place: where it is pasted; None: nowhere.
        number: of the face in the file, from 0.
    """

    face: LoadedFace
    record: Record
    missing: tuple[Output, ...]
    place: PastePlace | None = None
    number: int = 0

    @property
    def edits(self) -> frozenset[str]:
        """The edits whose pictures are needed: masks and pasted photos need their edit's, too."""
        return frozenset(edit for output in self.missing for edit in output.edits)

    @property
    def idle(self) -> bool:
        """Whether nothing of it is to be computed: it only waits for the other faces of its photo."""
        return all(output.per == "photo" and not output.edits for output in self.missing)


@dataclass(frozen=True)
class OutFile:
    """One file of an item: what it is, its path relative to the run's folder (POSIX), and how to make its bytes."""

    output: Output
    path: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Change:
    """What is pasted of one face for one output: the edited crop, the crop that it is compared with, and where it changed.

    Pictures are uint8 R x R x 3; `mask` uint8 R x R, 0 where the photo stays; None: everywhere.
    """

    output: Output
    edited: U8Image
    original: U8Image
    mask: U8Image | None = None


@dataclass(frozen=True)
class Result:
    """An item that left the device.

    Attributes:
        record: what to note, outputs of earlier runs that still hold included.
        files: what to write first.
        counts_as: ``done`` (or failed, as the record says), ``skipped`` (noted only because its file was touched),
            ``nothing`` (an earlier item that is withdrawn).
        place: of a face that is pasted: it is noted once the photo's others have come and the photo is written.
        changes: what is pasted; none where the face failed.
    """

    record: Record
    files: tuple[OutFile, ...] = ()
    counts_as: Literal["done", "skipped", "nothing"] = "done"
    place: PastePlace | None = None
    changes: tuple[Change, ...] = ()


def split_key(relative: str) -> tuple[str, str]:
    """POSIX path -> (key, suffix with its dot), as pathlib sees them, but fast."""
    start = relative.rfind("/") + 1
    dot = relative.rfind(".")
    return (relative[:dot], relative[dot:]) if start < dot < len(relative) - 1 else (relative, "")
