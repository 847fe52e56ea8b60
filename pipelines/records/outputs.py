"""The kinds of output that a run writes: their names, where each lies, and by what it is known to be current.

Nothing else in the package spells these names: a kind is a folder of a run, and a word in its manifest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

FACE, LATENTS, INVERSION = "face", "latents", "inversion"
CODES = ".safetensors"  # the suffix of latents
MOST_BYTES = 255  # of a file's name
MASKS, PHOTOS = "masks/", "photos/"
FOLDERS = frozenset({LATENTS, INVERSION, MASKS[:-1], PHOTOS[:-1]})  # that a run may fill beside its edits'


@dataclass(frozen=True)
class Output:
    """One kind of output.

    Attributes:
        kind: its name in the manifest: face, latents, inversion, an edit's name, masks/EDIT or photos/EDIT.
        per: whether every face has one, or every photo (whose faces then share the file).
        suffix: of its files, with the dot.
        fingerprint: everything but the input that decides it (options, versions, weights), hashed; of this kind alone.
        before: the same as versions before `Record.prints` hashed it, for all kinds at once; "": nothing of them holds.
    """

    kind: str
    per: Literal["face", "photo"]
    suffix: str
    fingerprint: str
    before: str = ""

    def path(self, key: str) -> str:
        """The file of an item, or of a photo, relative to the run's folder (POSIX)."""
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


def edit_of(kind: str) -> str:
    """The edit that a kind shows; "" of those that show none."""
    kind = kind.removeprefix(MASKS).removeprefix(PHOTOS)
    return "" if kind in (FACE, LATENTS, INVERSION) else kind
