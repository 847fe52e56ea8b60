"""What a person types after `--attr`, and the edits that it means.

    smile=+2              one edit, named "smile+2"
    smile=+2,age=-1       one edit of two attributes, named "smile+2,age-1"
    smile=-2:2:1          a sweep START:STOP:STEP, both ends included: five edits

Strengths count in the direction's own unit (one standard deviation of the attribute over the generator's faces).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import UsageError

MAX_EDITS = 1000
_EXAMPLE = "for example smile=+2, smile=+2,age=-1 or smile=-2:2:1"
# A word, for a file's directions with a dot and a component, and rows: pca.10@7-8. It becomes part of a folder's name.
_ATTRIBUTE = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*(@\d+-\d+)?")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

Term = tuple[str, float]


@dataclass(frozen=True)
class Edit:
    """One edit: attributes and strengths that are applied together.

    Attributes:
        name: the output folder's name, e.g. ``"smile+2"`` or ``"smile+2,age-1"``; a pure function of `terms`.
        terms: (attribute, strength) in the order typed; strength in units of the direction, any finite number.
    """

    name: str
    terms: tuple[Term, ...]


def make_edit(terms: Sequence[Term]) -> Edit:
    """The edit of these terms, named after them: the sign always shown, the strength as `%g` writes it."""
    plain = tuple((attribute, strength + 0.0) for attribute, strength in terms)  # -0.0 + 0.0 = 0.0: one name for zero
    return Edit(",".join(f"{attribute}{strength:+g}" for attribute, strength in plain), plain)


def parse_edits(texts: Iterable[str]) -> tuple[Edit, ...]:
    """All edits that the `--attr` texts mean, in their order; an edit that is asked for twice appears once.

    Raises:
        UsageError: a text that cannot be read, a number that is not finite, an empty or endless sweep, more than
            1000 edits, one attribute twice in a combination; the sentence carries an example.
    """
    edits: dict[frozenset[Term], Edit] = {}
    for text in texts:
        for edit in _expand(text, MAX_EDITS):
            edits.setdefault(frozenset(edit.terms), edit)
    if len(edits) > MAX_EDITS:
        raise UsageError(f"{len(edits)} edits are asked for; at most {MAX_EDITS} fit one run")
    _refuse_shared_names(edits.values())
    return tuple(edits.values())


def _expand(text: str, limit: int) -> Iterable[Edit]:
    attributes, ranges = [], []
    for part in text.split(","):
        attribute, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not _ATTRIBUTE.fullmatch(attribute):
            raise UsageError(f"cannot read the edit '{text}': write NAME=STRENGTH, {_EXAMPLE}")
        attributes.append(attribute)
        ranges.append(_strengths(value, text, limit))
    if len(set(attributes)) < len(attributes):
        raise UsageError(f"the edit '{text}' names one attribute twice; give it one strength, {_EXAMPLE}")
    if math.prod(len(values) for values in ranges) > limit:
        raise UsageError(f"the edit '{text}' means more than {limit} edits; take a larger step, {_EXAMPLE}")
    for strengths in itertools.product(*ranges):
        edit = make_edit(list(zip(attributes, strengths, strict=True)))
        if len(edit.name.encode()) > 200:
            raise UsageError(f"the edit '{text}' combines too many attributes: its folder's name would be too long")
        yield edit


def _strengths(value: str, text: str, limit: int) -> list[float]:
    pieces = value.split(":")
    if len(pieces) == 1:
        return [_number(value, text)]
    if len(pieces) != 3:
        raise UsageError(f"cannot read the sweep in '{text}': write START:STOP:STEP, {_EXAMPLE}")
    start, stop, step = (_number(piece, text) for piece in pieces)
    steps = (stop - start) / step if step else -1.0
    if steps < 0:
        raise UsageError(f"the sweep in '{text}' never gets from START to STOP; choose another STEP, {_EXAMPLE}")
    if steps >= limit:
        raise UsageError(f"the sweep in '{text}' means more than {limit} edits; take a larger step, {_EXAMPLE}")
    count = math.floor(steps + 1e-9) + 1
    return [round(start + index * step, 10) for index in range(count)]


def _number(piece: str, text: str) -> float:
    piece = piece.strip()
    value = float(piece) if _NUMBER.fullmatch(piece) else math.nan
    if not math.isfinite(value):
        raise UsageError(f"'{piece}' in the edit '{text}' is not a finite number; {_EXAMPLE}")
    return value


def _refuse_shared_names(edits: Iterable[Edit]) -> None:
    """Two strengths that differ after the sixth digit would share a folder: refused rather than overwritten."""
    seen: set[str] = set()
    for edit in edits:
        if edit.name in seen:
            raise UsageError(f"two edits would share the folder '{edit.name}'; strengths keep six digits")
        seen.add(edit.name)
