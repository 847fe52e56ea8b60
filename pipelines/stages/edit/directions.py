"""The directions that the package carries: their vectors, and the facts on their card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from pipelines.edits import Edit
from pipelines.stages.edit.direction_set import Direction, Hold
from pipelines.weights import assets

ASSET = "directions-mobile-ffhq"


@dataclass(frozen=True)
class DirectionInfo:
    """What `--list-attrs` prints.

    Attributes:
        unit: what `std`, one deviation of the attribute over the generator's faces, counts in.
        layers: first and last row of W+ that it acts on.
        range: strengths at which it was measured and still moves.
        leakage: other attributes' change per unit, in their deviations.
        identity: strength -> likeness to the photo after it (as the metric `id-dlib`).
        way: how composed edits bring it into the photo.
    """

    name: str
    description: str
    unit: str
    layers: tuple[int, int]
    std: float
    source: str
    range: tuple[float, float]
    leakage: dict[str, float]
    identity: dict[str, float]
    way: str


@dataclass(frozen=True)
class Scale:
    """An attribute's measure, in the meter's raw units.

    Attributes:
        mean, std: over the generator's own faces.
        slope: what one unit of strength moves.
        range: strengths at which the direction was measured.
    """

    mean: float
    std: float
    slope: float
    range: tuple[float, float]


def own_directions(num_ws: int) -> list[Direction]:
    """The shipped, calibrated directions as L x 512 vectors."""
    tensors, card = assets.load_safetensors(assets.packed_path(f"{ASSET}.safetensors")), assets.card(ASSET)
    made = []
    for name, facts in card["directions"].items():
        first, last = facts["layers"]
        vector = torch.zeros(num_ws, tensors[name].shape[-1])
        vector[first : last + 1] = tensors[name].float()
        unit = "standard deviations of the measured attribute"
        made.append(Direction(name, vector, unit, "ganinv", facts.get("way", ""), facts.get("region", "")))
    made = with_below(made, {name: facts["below"] for name, facts in card["directions"].items() if "below" in facts})
    readings = {
        name: (tensors[reading(name)].float(), float(offset)) for name, offset in card.get("readings", {}).items()
    }
    return with_holds(
        made, {n: facts["holds"] for n, facts in card["directions"].items() if "holds" in facts}, readings
    )


def reading(attribute: str) -> str:
    """The tensor by which codes are read for an attribute."""
    return f"{attribute}.reading"


def with_holds(
    directions: Sequence[Direction],
    shares: Mapping[str, Mapping[str, float]],
    readings: Mapping[str, tuple[Tensor, float]],
) -> list[Direction]:
    """Directions that hold another attribute where a strength is below 0 -> that one's name -> share of its direction."""
    known = {each.name: each for each in directions}
    held = {
        name: Hold(*readings[other], share * known[other].vector)
        for name, others in shares.items()
        for other, share in others.items()
    }
    return [replace(each, hold=held.get(each.name)) for each in directions]


def with_below(directions: Sequence[Direction], shares: Mapping[str, Mapping[str, float]]) -> list[Direction]:
    """Directions that take shares of others along where a strength is below 0: name -> other's name -> share."""
    vectors = {each.name: each.vector for each in directions}
    return [
        replace(each, below=each.vector + sum(share * vectors[other] for other, share in shares[each.name].items()))
        if each.name in shares
        else each
        for each in directions
    ]


def list_directions() -> list[DirectionInfo]:
    """Facts about the shipped directions, from their card."""
    card = assets.card(ASSET)
    return [
        DirectionInfo(
            name=name,
            description=facts["description"],
            unit=str(facts.get("unit", "")),
            layers=(int(facts["layers"][0]), int(facts["layers"][1])),
            std=float(facts.get("std", math.nan)),
            source=ASSET,
            range=(float(facts["range"][0]), float(facts["range"][1])),
            leakage={other: float(value) for other, value in facts["leakage"].items()},
            identity={strength: float(value) for strength, value in facts.get("identity", {}).items()},
            way=" ".join(dict.fromkeys(str(facts[key]) for key in ("way", "region") if facts.get(key))),
        )
        for name, facts in card["directions"].items()
    ]


def beyond_range(edits: Iterable[Edit]) -> list[str]:
    """A sentence for each shipped attribute that some edit takes outside the strengths it was measured at; sorted."""
    farthest: dict[str, float] = {}
    for name, strength in (term for edit in edits for term in edit.terms):
        farthest[name] = max(farthest.get(name, 0.0), strength, key=abs)
    spans = _spans()
    return [
        f"{name}={strength:+g} is outside {low:+g} to {high:+g}, where {name} was measured: faces may fall apart"
        for name, strength in sorted(farthest.items())
        for low, high in [spans.get(name.partition("@")[0], (-math.inf, math.inf))]
        if not low <= strength <= high
    ]


@cache
def _spans() -> dict[str, tuple[float, float]]:
    """Every shipped attribute's measured strengths; read once, since every edit of every batch asks."""
    return {each.name: each.range for each in list_directions()}


def measured_scales() -> dict[str, Scale]:
    """The scale of every attribute that can be asked for by an amount, from the card."""
    made, known = {}, measures()
    for name, facts in assets.card(ASSET)["directions"].items():
        if name in known:
            mean, std = known[name]
            curve, (low, high) = facts["curve"], facts["range"]
            slope = std * max(0.3, (curve["+1"] - curve["-1"]) / 2)
            made[name] = Scale(mean, std, slope, (float(low), float(high)))
    return made


def measures() -> dict[str, tuple[float, float]]:
    """Everything that the meter measures: mean and standard deviation over the generator's own faces, in its raw units."""
    return {name: (float(mean), float(std)) for name, (mean, std) in assets.card(ASSET)["measures"].items()}


def attribute_scales() -> dict[str, float]:
    """Standard deviation of every measured attribute over the generator's own faces, in the meter's raw units."""
    return {name: std for name, (_, std) in measures().items()}
