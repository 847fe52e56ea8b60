"""What a person types after `--attr`, and the edits that it means.

    smile=+2              one edit, named "smile+2"
    smile=+2,age=-1       one edit of two attributes, named "smile+2,age-1"
    smile=-2:2:1          a sweep START:STOP:STEP, both ends included: five edits
    age=+10y              ten years older, whatever strength that takes on the face at hand: "age+10y"
    age:=60y              to an age of sixty: "age=60y"
    yaw:=0                looking into the camera: "yaw=0deg"

Plain strengths count in the direction's own unit (one standard deviation of the attribute over the generator's faces).
Amounts are measured on each face (`pipelines.stages.edit.amounts`): in years (y), degrees (deg), or in deviations (sd) of the
generator's faces, from their mean.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import UsageError

MAX_EDITS = 1000
_EXAMPLE = "for example smile=+2, smile=+2,age=-1, smile=-2:2:1, age=+10y or yaw:=0"
# A word, for a file's directions with a dot and a component, and rows: pca.10@7-8. It becomes part of a folder's name.
_ATTRIBUTE = re.compile(r"[^\W\d][\w-]*(\.[\w-]+)*(@\d+-\d+)?")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TERM = re.compile(rf"(?P<attribute>{_ATTRIBUTE.pattern})(?P<strength>[+-]\d[\d.e+-]*)")  # of a name
_UNITS = {"y": "y", "deg": "deg", "°": "deg", "sd": "sd"}
_OWN_UNIT = {"age": "y", "yaw": "deg", "pitch": "deg"}  # of what is no count of deviations

Term = tuple[str, float]


@dataclass(frozen=True)
class Aim:
    """An amount that is measured on each face, not a strength.

    Attributes:
        attribute: as in a term, rows included.
        value: finite, in `unit`.
        unit: ``y`` (years), ``deg`` (degrees), or ``sd``: standard deviations over the generator's faces; where an attribute
            is brought to a value, counted from their mean. ``raw``: the meter's own, as read from a reference portrait.
        to: brought to the value (``:=``); False: moved by it (``=``).
    """

    attribute: str
    value: float
    unit: str
    to: bool

    @property
    def label(self) -> str:
        """As in an edit's name: ``age+10y``, ``age=60y``."""
        return (
            f"{self.attribute}={self.value:g}{self.unit}" if self.to else f"{self.attribute}{self.value:+g}{self.unit}"
        )


@dataclass(frozen=True)
class Edit:
    """One edit: attributes and strengths that are applied together.

    Attributes:
        name: the output folder's name, e.g. ``"smile+2"`` or ``"smile+2,age=60y"``; a pure function of terms and aims, or
            of the reference portrait from which they were read.
        terms: (attribute, strength) in the order typed; strength in units of the direction, any finite number.
        aims: amounts whose strengths are found on each face.
    """

    name: str
    terms: tuple[Term, ...]
    aims: tuple[Aim, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """What it changes, rows included."""
        return (*(name for name, _ in self.terms), *(aim.attribute for aim in self.aims))


def make_edit(terms: Sequence[Term], aims: Sequence[Aim] = ()) -> Edit:
    """The edit of these, named after them: the sign always shown, the strength as `%g` writes it."""
    plain = tuple((attribute, strength + 0.0) for attribute, strength in terms)  # -0.0 + 0.0 = 0.0: one name for zero
    shown = [f"{attribute}{strength:+g}" for attribute, strength in plain]
    return Edit(",".join([*shown, *(aim.label for aim in aims)]), plain, tuple(aims))


def read_name(name: str) -> Edit | None:
    """The edit that `make_edit` named so; None where amounts are measured on each face, or the name is anybody else's."""
    found = [_TERM.fullmatch(part) for part in name.split(",")]
    edit = make_edit([(match["attribute"], float(match["strength"])) for match in found if match])
    return edit if name and edit.name == name else None


def make_aim(attribute: str, value: float, unit: str = "", to: bool = True) -> Aim:
    """An amount in its attribute's own unit, or in deviations; raises UsageError for a unit that is not of it."""
    own = _OWN_UNIT.get(attribute.partition("@")[0], "sd")
    if (unit or own) not in (own, "sd"):
        fitting = "sd (deviations)" if own == "sd" else f"{own} or sd (deviations)"
        raise UsageError(f"{attribute} is not counted in {unit}: use {fitting}, {_EXAMPLE}")
    return Aim(attribute, value + 0.0, unit or own, to)


def parse_edits(texts: Iterable[str]) -> tuple[Edit, ...]:
    """All edits that the `--attr` texts mean, in their order; an edit that is asked for twice appears once.

    Raises:
        UsageError: a text that cannot be read, a number that is not finite, an empty or endless sweep, more than
            1000 edits, one attribute twice in a combination, a unit that is not of the attribute; the sentence carries
            an example.
    """
    edits: dict[frozenset[Term | Aim], Edit] = {}
    for text in texts:
        for edit in _expand(text, MAX_EDITS):
            edits.setdefault(frozenset((*edit.terms, *edit.aims)), edit)
    if len(edits) > MAX_EDITS:
        raise UsageError(f"{len(edits)} edits are asked for; at most {MAX_EDITS} fit one run")
    refuse_shared_names(edits.values())
    return tuple(edits.values())


def _expand(text: str, limit: int) -> Iterable[Edit]:
    attributes, ranges = [], []
    for part in text.split(","):
        attribute, equals, value = (piece.strip() for piece in part.partition("="))
        to = attribute.endswith(":")
        attribute = attribute.removesuffix(":").rstrip()
        if not equals or not _ATTRIBUTE.fullmatch(attribute):
            raise UsageError(f"cannot read the edit '{text}': write NAME=STRENGTH, {_EXAMPLE}")
        attributes.append(attribute)
        value, unit = _split_unit(value)
        numbers = _strengths(value, text, limit)
        ranges.append([make_aim(attribute, each, unit, to) if to or unit else (attribute, each) for each in numbers])
    if len(set(attributes)) < len(attributes):
        raise UsageError(f"the edit '{text}' names one attribute twice; give it one strength, {_EXAMPLE}")
    if math.prod(len(values) for values in ranges) > limit:
        raise UsageError(f"the edit '{text}' means more than {limit} edits; take a larger step, {_EXAMPLE}")
    for parts in itertools.product(*ranges):
        edit = make_edit([p for p in parts if isinstance(p, tuple)], [p for p in parts if isinstance(p, Aim)])
        if len(edit.name.encode()) > 200:
            raise UsageError(f"the edit '{text}' combines too many attributes: its folder's name would be too long")
        yield edit


def _split_unit(value: str) -> tuple[str, str]:
    """A number or a sweep, and the unit behind it ("": none)."""
    for ending, unit in _UNITS.items():
        if value.endswith(ending):
            return value.removesuffix(ending), unit
    return value, ""


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


def refuse_shared_names(edits: Iterable[Edit]) -> None:
    """Two strengths that differ after the sixth digit would share a folder: refused rather than overwritten."""
    seen: set[str] = set()
    for edit in edits:
        if edit.name in seen:
            raise UsageError(f"two edits would share the folder '{edit.name}'; strengths keep six digits")
        seen.add(edit.name)
