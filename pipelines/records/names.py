"""`--name '{key}-{edit}'`: names of edited pictures by a template, checked before anything is made.

A template is a relative path without suffix. Two pictures must never have one name, so a template is taken only where
names can be told apart whatever the keys are, or (`needs_listing`) where every photo is known before the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Formatter

from pipelines.errors import UsageError

FIELDS = {
    "key": "the photo's path below the input, without suffix; .1, .2, ... behind it for further faces",
    "folder": "the key's folder, empty for photos at the top",
    "stem": "the key without its folder, and without a further face's number",
    "face": "the face's number in its photo, from 0 (0 for crops, and for pasted photos, which show all faces)",
    "edit": "the edit's name, as smile+2",
}
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_EXAMPLE = "for example '{key}-{edit}' or '{folder}/{stem}-{edit}'"
Part = tuple[str, str]  # literal text, and the field behind it ("": none)


@dataclass(frozen=True)
class NameTemplate:
    """A template that `parse_name` has read.

    Attributes:
        text: as typed.
        needs_listing: names are apart only if no two photos share a stem.
    """

    text: str
    needs_listing: bool = False

    @property
    def top(self) -> str:
        """The folder in which all names lie; "" where that depends on the photo."""
        first, slash, _ = self.text.partition("/")
        return first if slash and "{" not in first else ""

    def name(self, key: str, edit: str, face: int = 0) -> str:
        """The picture's path without suffix, POSIX, relative to the run's folder."""
        photo = key.removesuffix(f".{face}") if face else key
        folder, _, stem = photo.rpartition("/")
        made = self.text.format(key=key, folder=folder, stem=stem, face=face, edit=edit)
        return "/".join(part for part in made.split("/") if part)


def parse_name(text: str, edits: Sequence[str], several_faces: bool = False) -> NameTemplate:
    """A template for pictures of these edits.

    Args:
        text: as typed.
        edits: the run's edits by name.
        several_faces: a photo may have several.

    Raises:
        UsageError: a field that is not known, a name that is not safe, or names that pictures would share.
    """
    parts = _parts(text)
    _refuse_unsafe(text, parts)
    fields = {field for _, field in parts}
    if len(edits) > 1 and "edit" not in fields:
        raise UsageError(f"--name '{text}' gives {len(edits)} edits one name; add {{edit}}, {_EXAMPLE}")
    if not fields & {"key", "stem"}:
        raise UsageError(f"--name '{text}' gives all photos one name; add {{key}}, {_EXAMPLE}")
    if several_faces and not fields & {"key", "face"}:
        raise UsageError(f"--name '{text}' gives all faces of a photo one name; add {{face}}, or use {{key}}")
    _refuse_shared(text, parts, edits)
    return NameTemplate(text, needs_listing=not fields & {"key", "folder"})


def _parts(text: str) -> list[Part]:
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f"cannot read --name '{text}' ({error}); {_EXAMPLE}") from None
    for _, field, form, way in parsed:
        if field is not None and (field not in FIELDS or form or way):
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"--name '{text}': there is no field '{{{field}}}'; known: {known}, without more in them")
    return [(literal, field or "") for literal, field, _, _ in parsed]


def _refuse_unsafe(text: str, parts: Sequence[Part]) -> None:
    if any(_UNSAFE.search(literal) for literal, _ in parts) or text != text.strip() or "{{" in text or "}}" in text:
        raise UsageError(f"--name '{text}' is no safe file name: leave out \\ : * ? \" < > | and outer blanks")
    pieces = text.split("/")
    if any(piece in ("", ".", "..") for piece in pieces):
        raise UsageError(f"--name '{text}' leaves the run's folder, or names none: write a plain path, {_EXAMPLE}")
    if any("{folder}" in piece and piece != "{folder}" for piece in pieces) or pieces[-1] == "{folder}":
        raise UsageError(f"--name '{text}': {{folder}} is a folder of its own, as in '{{folder}}/{{stem}}-{{edit}}'")
    fields = [field for _, field in parts if field]
    touching = any(not literal and field and place for place, (literal, field) in enumerate(parts))
    if touching or len(fields) > len(set(fields)):
        raise UsageError(f"--name '{text}' joins two fields, or has one twice; put text between them, {_EXAMPLE}")


def _refuse_shared(text: str, parts: Sequence[Part], edits: Sequence[str]) -> None:
    """Whether two edits could have one name for two different photos: where neither the text before the first field of
    a photo nor that behind the last one tells them apart."""
    if "edit" not in {field for _, field in parts} or _stands_alone(text):
        return
    shown = sorted({_ends(parts, edit) for edit in edits})
    for first, second in _pairs(shown):
        before = first[0].startswith(second[0]) or second[0].startswith(first[0])
        if before and (first[1].endswith(second[1]) or second[1].endswith(first[1])):
            raise UsageError(f"--name '{text}' could give two photos one name; use '{{edit}}/{{key}}', or leave it out")


def _stands_alone(text: str) -> bool:
    """The edit is a folder of its own, at a depth that no photo changes."""
    pieces = text.split("/")
    if "{edit}" not in pieces:
        return False
    place = pieces.index("{edit}")
    return any(not re.search("{(key|folder)}", "/".join(side)) for side in (pieces[:place], pieces[place + 1 :]))


def _ends(parts: Sequence[Part], edit: str) -> tuple[str, str]:
    """What stands before the first field of the photo, and what behind the last."""
    pieces = [""]
    for literal, field in parts:
        pieces[-1] += literal + (edit if field == "edit" else "")
        if field and field != "edit":
            pieces.append("")
    return pieces[0], pieces[-1]


def _pairs(shown: Sequence[tuple[str, str]]) -> Iterable[tuple[tuple[str, str], tuple[str, str]]]:
    return ((first, second) for place, first in enumerate(shown) for second in shown[place + 1 :])
