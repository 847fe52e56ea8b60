"""`--plan edits.csv|.json`: which face of which photo gets which edits.

Rows of key, face and attr. The key is the photo's (its path below the input, with or without suffix); the face counts from
0 in the order of `--faces all`, and is empty for every face; attr is as after `--attr`. Several rows of a face are several
edits. The file is read once, before the run; photos that it does not name are not read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipelines.edits import MAX_EDITS, Edit, parse_edits, refuse_shared_names
from pipelines.errors import UsageError
from pipelines.records.photos import FURTHER, Photo
from pipelines.storage.names import split_key

_SHAPE = "a CSV file with the columns key, face, attr, or a JSON list of objects with these"
Faces = Mapping[int | None, tuple[str, ...]]  # a face's number (None: every face) -> names of its edits


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    key: Annotated[str, Field(min_length=1)]
    face: Annotated[int | None, Field(ge=0)] = None
    attr: Annotated[str, Field(min_length=1)]

    @field_validator("face", mode="before")
    @classmethod
    def _every_face(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("true and false are no number")
        return None if isinstance(value, str) and not value.strip() else value


@dataclass(frozen=True)
class EditPlan:
    """A plan that was read.

    Attributes:
        rows: key -> its faces.
        edits: all edits of the plan.
        always: names of edits that every face of the run gets beside (`--attr`).
    """

    rows: Mapping[str, Faces]
    edits: tuple[Edit, ...]
    always: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """The most edits that a face can get by the plan."""
        return max(len(f.get(None, ())) + max(map(len, f.values())) for f in self.rows.values())

    def keys_of(self, photo: Photo) -> set[str]:
        """The plan's keys that name the photo; empty: the plan has nothing for it."""
        base, _ = _place(photo, 0)
        keys = {base, photo.key, *(key for key, _ in photo.group)}
        return {name for key in keys for name in (key, *_with_suffix(key, photo)) if name in self.rows}

    def of(self, photo: Photo, face: int) -> tuple[str, ...]:
        """The plan's edits of one face, each once; `face`: of those that were found in the file."""
        base, number = _place(photo, face)
        return self._edits(photo, base, number)

    def of_all(self, photo: Photo) -> list[tuple[int, tuple[str, ...]]]:
        """Number and edits of each face of the whole photo (of which `photo` may be one crop) that the plan tells apart."""
        base, number = _place(photo, 0)
        numbers = {0, number, *(each for each in self._faces(photo, base) if each is not None)}
        numbers |= {_number(key, base) for key, _ in photo.group}
        return [(each, self._edits(photo, base, each)) for each in sorted(numbers)]

    def beyond(self, photo: Photo, faces: int) -> list[int]:
        """Numbers of faces that the plan names and a photo with so many faces does not have."""
        if photo.origin is not None:
            return []
        return sorted(each for each in self._faces(photo, photo.key) if each is not None and each >= faces)

    def _edits(self, photo: Photo, base: str, number: int) -> tuple[str, ...]:
        faces = self._faces(photo, base)
        found = [*faces.get(None, ()), *faces.get(number, ())]
        if number and photo.origin is not None:  # a crop, which has a key of its own
            own = self._faces(photo, f"{base}.{number}")
            found += [*own.get(None, ()), *own.get(0, ())]
        return tuple(dict.fromkeys(found))

    def _faces(self, photo: Photo, key: str) -> Faces:
        return next((self.rows[name] for name in (key, *_with_suffix(key, photo)) if name in self.rows), {})


def _place(photo: Photo, face: int) -> tuple[str, int]:
    """The key of a face's photo, and its number in it."""
    further = FURTHER.fullmatch(photo.key) if photo.origin is not None else None
    return (further[1], _number(photo.key, further[1])) if further else (photo.key, face)


def _number(key: str, base: str) -> int:
    return int(key[len(base) + 1 :] or 0)


def _with_suffix(key: str, photo: Photo) -> tuple[str, ...]:
    paths = (photo.path, photo.origin.path) if photo.origin is not None else (photo.path,)
    return tuple(key + split_key(path.rpartition("/")[2])[1] for path in paths)


def read_plan(path: Path, always: Sequence[str] = ()) -> EditPlan:
    """Read and check a plan.

    Args:
        path: see the module.
        always: as of `EditPlan`.

    Raises:
        UsageError: it cannot be read, has no rows, a row that is none, or more than 1000 different edits.
    """
    rows: dict[str, dict[int | None, tuple[str, ...]]] = {}
    edits: dict[str, Edit] = {}
    read: dict[str, tuple[Edit, ...]] = {}
    for number, row in enumerate(_checked(path), 1):
        if row.attr not in read:
            try:
                read[row.attr] = parse_edits([row.attr])
            except UsageError as error:
                raise UsageError(f"the plan '{path}', row {number}: {error}") from None
            edits |= {edit.name: edit for edit in read[row.attr]}
        faces = rows.setdefault(row.key, {})
        faces[row.face] = (*faces.get(row.face, ()), *(edit.name for edit in read[row.attr]))
    if not rows:
        raise UsageError(f"the plan '{path}' has no rows; give {_SHAPE}")
    if len(edits) > MAX_EDITS:
        raise UsageError(f"the plan '{path}' has {len(edits)} different edits; at most {MAX_EDITS} fit one run")
    refuse_shared_names(edits.values())
    return EditPlan(rows, tuple(edits.values()), tuple(always))


def _checked(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        bodies = json.loads(text) if path.suffix.lower() == ".json" else _table(text)
    except OSError as error:
        raise UsageError(f"the plan '{path}' cannot be read ({error.strerror}); give {_SHAPE}") from None
    except (ValueError, csv.Error) as error:
        raise UsageError(f"the plan '{path}' cannot be read ({error}); give {_SHAPE}") from None
    if not isinstance(bodies, list):
        raise UsageError(f"the plan '{path}' is no list; give {_SHAPE}")
    return [_row(path, number, body) for number, body in enumerate(bodies, 1)]


def _table(text: str) -> list[dict[str, Any]]:
    head = text.partition("\n")[0]
    cells = ";" if ";" in head and "," not in head else ","  # spreadsheets write semicolons where commas are decimal
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="more cells", strict=True, delimiter=cells)
    lacking = {"key", "attr"} - set(reader.fieldnames or ())
    if lacking:
        raise ValueError(f"no column {' or '.join(sorted(lacking))}")
    return [{name: cell for name, cell in row.items() if cell is not None} for row in reader]


def _row(path: Path, number: int, body: Any) -> _Row:
    if isinstance(body, dict) and "more cells" in body:
        raise UsageError(f"the plan '{path}', row {number} has too many cells; quote combinations: \"smile=+2,age=-1\"")
    try:
        return _Row.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = f" '{first['loc'][0]}'" if first["loc"] else ""
        raise UsageError(f"the plan '{path}', row {number}{where}: {first['msg']}; give {_SHAPE}") from None
