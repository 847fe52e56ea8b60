"""What the fields of a manifest's record may hold: a record comes from a file, and what is believed becomes paths and sizes.

Each check gives the field's value; all raise ValueError or TypeError for what this tool does not write.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pipelines.types import Failure, Quad

Status = Literal["ok", "failed", "skipped"]
Stat = tuple[int, int]  # size in bytes, modification time in ns
MOST_FACES = 10_000  # of one photo, in a record that is believed
MOST_PIXELS = 1e6  # from a photo's corner to a crop's
_STEPS = re.compile(r"[/\\]")
_MEMBER = re.compile(r"\.\./[^/\\]+\.tar::", re.IGNORECASE)
LARGEST = 1e300  # of any other number


def status(version: Any, value: Any, expected: int) -> Status:
    if version != expected or value not in ("ok", "failed", "skipped"):
        raise ValueError("not a record of this version")
    return cast(Status, value)


def text(value: Any) -> str:
    """Any text that can be written again."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def ascii(value: Any) -> str:
    if not text(value).isascii():
        raise ValueError("not a hash")
    return cast(str, value)


def path(value: Any) -> str:
    """A text that a file system takes: no NUL, and surrogates only for the bytes of a name that is not UTF-8."""
    found = text(value)
    if "\0" in found:
        raise ValueError("a NUL in a path")
    if not found.isascii():
        found.encode("utf-8", "surrogateescape")
    return found


def inside(value: Any) -> str:
    """A path that stays in its folder: relative, and without a step up."""
    found = path(value)
    if not found or found[0] in "/\\" or (".." in found and ".." in _STEPS.split(found)):
        raise ValueError("a path that leads out of the run's folder")
    return found


def output(value: Any) -> str:
    """As `inside`; or a member of an archive beside the run's folder. (A place in a store has no steps up, either.)"""
    return value if isinstance(value, str) and _MEMBER.match(value) and inside(value[3:]) else inside(value)


def number(value: Any, most: float = LARGEST) -> float:
    """A number; NaN is refused, since it is not below anything."""
    if type(value) not in (int, float) or not -most <= value <= most:
        raise ValueError("not a number that this tool writes")
    return cast(float, value)


def scores(body: Any) -> dict[str, float]:
    made = {text(name): number(value) for name, value in body.items()}
    if not 0 <= made.get("faces", 1) <= MOST_FACES:
        raise ValueError("a number of faces that no photo has")
    return made


def quad(body: Any) -> Quad | None:
    if body is None:
        return None
    corners = tuple((float(number(x, MOST_PIXELS)), float(number(y, MOST_PIXELS))) for x, y in body)
    if len(corners) != 4:
        raise ValueError("not four corners")
    return corners


def failure(body: Any) -> Failure | None:
    return None if body is None else Failure(path(body["stage"]), path(body["code"]), path(body["message"]))


def stat(body: Any) -> Stat | None:
    if body is None:
        return None
    size, changed = body
    if type(size) is not int or type(changed) is not int:
        raise TypeError("not a size and a time")
    return size, changed
