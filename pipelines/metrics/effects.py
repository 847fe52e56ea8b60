"""`moved` and `passengers`: how much of what was asked for an edit did, and how much else came along.

Both look at attributes, as `attributes` does, in standard deviations over the generator's faces, and count from what the edit
would be at strength 0: the photo where edits are composed into it, else the inversion. A direction's unit is one deviation, so
that a perfect edit has moved 1 and passengers 0. Attributes that belong together (an open mouth to a wide smile) are
passengers all the same: nobody asked for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.metrics.attributes import METER, AttributeChange, shared_change
from pipelines.metrics.faces import Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import Tools


def changes_asked_for(trio: Trio, change: AttributeChange) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(attribute -> strength other than 0, attribute -> n changes); both empty where no strength is known."""
    strengths: dict[str, float] = {}
    for name, strength in trio.edit.terms if trio.edit and not trio.edit.aims else ():
        name = name.partition("@")[0]  # an edit of a few rows is meant to move the same attribute
        strengths[name] = strengths.get(name, 0.0) + strength
    strengths = {name: strength for name, strength in strengths.items() if strength}
    if not strengths or trio.start is None:
        return {}, {}
    return strengths, change.between(trio.start, trio.result)


class Moved:
    """`moved`: change of the edit's own attributes per unit of strength, their mean where it has several.

    1 is what was asked for; more is an edit that does too much, so that neither side is better.
    """

    name = "moved"

    def __init__(self, change: AttributeChange) -> None:
        self._change = change

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values}; NaN where a picture shows no face, {} for an edit of nothing that can be measured."""
        strengths, changes = changes_asked_for(trio, self._change)
        shares = [changes[name] / strength for name, strength in strengths.items() if name in changes]
        return {self.name: torch.stack(shares).mean(0)} if shares else {}


class Passengers:
    """`passengers`: mean size of the change of all other attributes, per unit of strength. Lower is better."""

    name = "passengers"

    def __init__(self, change: AttributeChange) -> None:
        self._change = change

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values >= 0}; attributes that a picture does not show have no say, NaN where there is none."""
        strengths, changes = changes_asked_for(trio, self._change)
        others = [values.abs() for name, values in changes.items() if name not in strengths]
        if not others:
            return {}
        return {self.name: torch.stack(others).nanmean(0) / sum(map(abs, strengths.values()))}


@metrics.register(
    Moved.name, "change of what was asked for, deviations per unit of strength", "none", weights=METER, of_edits=True
)
def _moved(tools: Tools) -> Moved:
    return Moved(shared_change(tools))


@metrics.register(
    Passengers.name,
    "mean change of everything else, deviations per unit of strength",
    "lower",
    weights=METER,
    of_edits=True,
)
def _passengers(tools: Tools) -> Passengers:
    return Passengers(shared_change(tools))
