"""What flows through a run: what was read of a photo, a face in work, and what is to be written of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pipelines.records.manifest import Record, Stat
from pipelines.records.outputs import Output
from pipelines.records.photos import Origin, Photo
from pipelines.stages.align.crops import LoadedFace
from pipelines.types import Failure, U8Image


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
