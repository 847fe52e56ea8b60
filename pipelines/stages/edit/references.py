"""`--like`: an edit whose amounts are read from a reference portrait.

--like REF.jpg=smile,yaw      brought to that portrait's smile and turn: the edit "like-REF"
--like REF.jpg                expression and pose: `USUAL`
--like REFS.csv               a line a reference: its file, beside the list or absolute, then its attributes
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipelines.edits import Aim, Edit, make_aim, refuse_shared_names
from pipelines.errors import PhotoError, UsageError
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import to_tensor
from pipelines.metrics.attributes import METER, attribute_meter
from pipelines.specs import EditSpec
from pipelines.stages.align.detectors import build_aligner
from pipelines.stages.edit.amounts import Amounts
from pipelines.stages.edit.directions import measured_scales
from pipelines.weights.store import WeightStore

USUAL = ("smile", "mouth_open", "eyes_open", "yaw", "pitch")
_UNSAFE = re.compile(r"[^\w.-]")
_EXAMPLE = "for example --like REF.jpg=smile,yaw"

Look = Callable[[Path], Mapping[str, float]]


def references(texts: Iterable[str]) -> list[tuple[Path, tuple[str, ...]]]:
    """What the texts name: portraits, and the attributes that are taken from each.

    Raises:
        UsageError: a text without a file, a list that cannot be read or is empty.
    """
    found = []
    for text in texts:
        if text.lower().endswith(".csv"):
            found += _listed(Path(text))
            continue
        name, equals, attributes = text.rpartition("=")
        if not (name if equals else text).strip():
            raise UsageError(f"cannot read the reference '{text}': write FILE=ATTRIBUTES, {_EXAMPLE}")
        found.append((Path(name if equals else text), _names(attributes) if equals else USUAL))
    return found


def _listed(path: Path) -> list[tuple[Path, tuple[str, ...]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"the list of references '{path}' cannot be read ({error}); give a CSV file in UTF-8"
        ) from None
    rows = rows[1:] if rows and rows[0][0].lower() in ("reference", "file") else rows
    if not rows:
        raise UsageError(f"the list of references '{path}' is empty: write a line as REF.jpg,smile,yaw")
    return [(path.parent / row[0], _names(" ".join(row[1:])) or USUAL) for row in rows]


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in re.split(r"[,;\s]+", text) if name))


def edits_like(texts: Iterable[str], known: Iterable[str], look: Look) -> tuple[Edit, ...]:
    """The edits that bring faces to the references' values.

    Args:
        texts: see the module.
        known: attributes that can be measured.
        look: portrait -> attribute -> value in the meter's raw units; raises PhotoError.

    Raises:
        UsageError: a file that shows no face or cannot be read, an attribute that cannot be measured, two references of
            one name.
    """
    measured, edits = tuple(known), dict[str, Edit]()
    for path, attributes in references(texts):
        if lacking := [name for name in attributes if name not in measured]:
            raise UsageError(f"'{lacking[0]}' cannot be taken from '{path}'; measured: {', '.join(measured)}")
        try:
            values = look(path)
        except PhotoError as error:
            raise UsageError(f"the reference '{path}' cannot be used: {error.message}") from None
        if not attributes or not all(math.isfinite(values[name]) for name in attributes):
            raise UsageError(f"nothing can be taken from the reference '{path}'; {_EXAMPLE}, with a clear face")
        name = f"like-{_UNSAFE.sub('_', path.stem)[:100]}"
        if name in edits:
            raise UsageError(
                f"two references would share the folder '{name}': rename one, or give it all attributes at once"
            )
        edits[name] = Edit(name, (), tuple(_aim(attribute, values[attribute]) for attribute in attributes))
    return tuple(edits.values())


def _aim(attribute: str, value: float) -> Aim:
    aim = make_aim(attribute, value)
    return aim if aim.unit != "sd" else Aim(attribute, value, "raw", True)


def with_references(spec: EditSpec, store: WeightStore) -> EditSpec:
    """The spec with an edit for each of its references (`like`), which are found, cut and measured here.

    Raises:
        UsageError: see `edits_like`.
        WeightsError: what finds and measures faces is missing.
    """
    if not spec.like:
        return spec
    store.pull(METER)
    scales = measured_scales()
    aligner = build_aligner(spec.model_copy(update={"faces": "largest", "min_size": 0}), store)
    amounts = Amounts(attribute_meter(store), scales)

    def look(path: Path) -> Mapping[str, float]:
        return amounts.look(to_tensor([aligner(decode(read_photo(path)))[0].crop]))

    edits = (*spec.edits, *edits_like(spec.like, scales, look))
    refuse_shared_names(edits)
    return spec.model_copy(update={"edits": edits, "like": ()})
