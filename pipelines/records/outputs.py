"""The kinds of output that a run writes: their names, where each lies, and by what it is known to be current.

Nothing else in the package spells these names: a kind is a folder of a run, and a word in its manifest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from pipelines.records.manifest import MANIFEST, PARTS
from pipelines.records.names import NameTemplate

FACE, LATENTS, INVERSION, ANIMATION = "face", "latents", "inversion", "animation"
CODES = ".safetensors"  # the suffix of latents
MOST_BYTES = 255  # of a file's name
MASKS, PHOTOS = "masks/", "photos/"
RUN_FILES = re.compile(r"manifest\.jsonl|run(\.\d+-of-\d+)?\.json|metrics\.json|report\.html")
PAPERS, SHEET = {"metrics.json", "report.html"}, "contact.png"  # what an evaluation leaves, and the picture beside it
PLANNED = "plan"  # no edit is called so: their names have amounts
FOLDERS = frozenset({LATENTS, INVERSION, ANIMATION, MASKS[:-1], PHOTOS[:-1]})  # that a run may fill beside its edits'


@dataclass(frozen=True)
class Output:
    """One kind of output.

    Attributes:
        kind: its name in the manifest: face, latents, inversion, animation, an edit's name, masks/EDIT or photos/EDIT.
        per: whether every face has one, or every photo (whose faces then share the file).
        suffix: of its files, with the dot.
        fingerprint: everything but the input that decides it (options, versions, weights), hashed; of this kind alone.
        before: the same as versions before `Record.prints` hashed it, for all kinds at once; "": nothing of them holds.
        shows: the edits that it shows, where the kind does not say so.
        name: of its files; None: ``KIND/KEY``.
    """

    kind: str
    per: Literal["face", "photo"]
    suffix: str
    fingerprint: str
    before: str = ""
    shows: tuple[str, ...] = ()
    name: NameTemplate | None = None

    @property
    def edits(self) -> tuple[str, ...]:
        """The edits whose pictures are needed to make it."""
        own = edit_of(self.kind) if planned_round(self.kind) is None else ""
        return self.shows or ((own,) if own else ())

    def path(self, key: str, face: int = 0) -> str:
        """The file of an item (face `face` of its photo), or of a photo, relative to the run's folder (POSIX)."""
        edit = edit_of(self.kind)
        if self.name is not None and edit:
            return file_name(self.kind.removesuffix(edit) + self.name.name(key, edit, face), self.suffix)
        name = file_name(key, self.suffix)
        return name if self.kind == FACE else f"{self.kind}/{name}"


def file_name(key: str, suffix: str) -> str:
    """``KEY.png``; where that is longer than a file system takes, the key's beginning and a mark of the whole."""
    folder, slash, name = key.rpartition("/")
    data = name.encode("utf-8", "surrogateescape")
    if len(data) + len(suffix) <= MOST_BYTES:
        return key + suffix
    mark = "~" + hashlib.sha256(data).hexdigest()[:8]
    start = data[: MOST_BYTES - len(mark) - len(suffix)].decode("utf-8", "ignore")
    return f"{folder}{slash}{start}{mark}{suffix}"


def mask_of(edit: str) -> str:
    """The kind that says where an edit's pictures are not the photo."""
    return MASKS + edit


def photo_of(edit: str) -> str:
    """The kind of the whole photos with that edit's faces."""
    return PHOTOS + edit


def planned_photo(round: int) -> str:
    """The kind of the whole photos in which each face has its edit of a plan: its first one (0), its second, ..."""
    return f"{PHOTOS}{PLANNED}.{round + 1}" if round else PHOTOS + PLANNED


def planned_round(kind: str) -> int | None:
    """The number of `planned_photo`; None for all other kinds."""
    found = re.fullmatch(rf"{PHOTOS}{PLANNED}(?:\.(\d+))?", kind)
    return int(found[1] or 1) - 1 if found else None


def edit_of(kind: str) -> str:
    """The edit that a kind shows; "" of those that show none."""
    kind = kind.removeprefix(MASKS).removeprefix(PHOTOS)
    return "" if kind in (FACE, LATENTS, INVERSION, ANIMATION) else kind


def is_run(names: set[str]) -> bool:
    """Whether a folder of these files was written by a run of this tool; other tools have manifests, too."""
    return not names.isdisjoint((MANIFEST, PARTS)) and not names.isdisjoint((".ganinv.lock", "run.json"))
