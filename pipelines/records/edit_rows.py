"""The file of `--plan edits.csv|.json`: which face of which photo gets which edits.

Rows of key, face and attr. The key is the photo's (its path below the input, with or without suffix); the face counts from
0 in the order of `--faces all`, and is empty for every face; attr is as after `--attr`. Several rows of a face are several
edits. The file is read once, before the run.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipelines.errors import UsageError

SHAPE = "a CSV file with the columns key, face, attr, or a JSON list of objects with these"


class Row(BaseModel):
    """A row as it was read; `face` None: every face."""

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


def read_rows(path: Path) -> list[Row]:
    """The rows, checked. Raises UsageError for a file that cannot be read, and for a row that is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        bodies = json.loads(text) if path.suffix.lower() == ".json" else _table(text)
    except OSError as error:
        raise UsageError(f"the plan '{path}' cannot be read ({error.strerror}); give {SHAPE}") from None
    except (ValueError, csv.Error) as error:
        raise UsageError(f"the plan '{path}' cannot be read ({error}); give {SHAPE}") from None
    if not isinstance(bodies, list):
        raise UsageError(f"the plan '{path}' is no list; give {SHAPE}")
    return [_row(path, number, body) for number, body in enumerate(bodies, 1)]


def _table(text: str) -> list[dict[str, Any]]:
    head = text.partition("\n")[0]
    cells = ";" if ";" in head and "," not in head else ","  # spreadsheets write semicolons where commas are decimal
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="more cells", strict=True, delimiter=cells)
    lacking = {"key", "attr"} - set(reader.fieldnames or ())
    if lacking:
        raise ValueError(f"no column {' or '.join(sorted(lacking))}")
    return [{name: cell for name, cell in row.items() if cell is not None} for row in reader]


def _row(path: Path, number: int, body: Any) -> Row:
    if isinstance(body, dict) and "more cells" in body:
        raise UsageError(f"the plan '{path}', row {number} has too many cells; quote combinations: \"smile=+2,age=-1\"")
    try:
        return Row.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = f" '{first['loc'][0]}'" if first["loc"] else ""
        raise UsageError(f"the plan '{path}', row {number}{where}: {first['msg']}; give {SHAPE}") from None
