"""From per-picture values to figures: mean, median and the worst pictures of every metric, for every edit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pipelines.records.outputs import INVERSION

Better = Literal["lower", "higher", "none"]
Values = dict[str, float]  # metric -> value; NaN where it could not be measured
WORST = 5


class Scores:
    """Every number of an evaluation: key -> edit -> metric -> value. Numbers only, so 100,000 pictures fit.

    Args:
        better: metric -> which side is better. A metric called ``group.part`` is nested in everything made here, and
            has the entry of ``group``.
        trim: metrics whose mean leaves outliers out (`trimmed`).
    """

    def __init__(self, better: Mapping[str, Better], trim: Iterable[str] = ()) -> None:
        self._better = dict(better)
        self._trim = frozenset(trim)
        self._values: dict[str, dict[str, Values]] = {}
        self._sets: dict[str, dict[str, dict[str, Any]]] = {}

    def add(self, key: str, edit: str, values: Values) -> None:
        """Note the values of one picture."""
        self._values.setdefault(key, {}).setdefault(edit, {}).update(values)

    def add_set(self, edit: str, metric: str, value: float | None, spread: float | None, count: int) -> None:
        """Note one figure of all `count` pictures of an edit together; None: they are too few."""
        figures = {"mean": value, "median": None, "n": count, "better": self.better(metric), "spread": spread}
        self._sets.setdefault(edit, {})[metric] = figures

    def __len__(self) -> int:
        return len(self._values)

    def of(self, key: str) -> dict[str, Values]:
        """edit -> metric -> value of one face."""
        return self._values[key]

    def edits(self) -> list[str]:
        """Edits that have values, the inversion first, then in the order in which they came."""
        seen = dict.fromkeys(edit for by_edit in self._values.values() for edit in by_edit)
        return sorted(seen, key=lambda edit: edit != INVERSION)

    def metrics(self, edit: str) -> list[str]:
        """Names of the metrics that this edit has values of."""
        of_pictures = (name for by_edit in self._values.values() for name in by_edit.get(edit, ()))
        return list(dict.fromkeys([*of_pictures, *self._sets.get(edit, ())]))

    def better(self, metric: str) -> Better:
        """Which side is better: ``lower``, ``higher`` or ``none``."""
        return self._better[metric.split(".")[0]]

    def figures(self, edit: str, metric: str) -> dict[str, Any]:
        """mean, median, n (valid values alone), better; mean and median are None where n is 0.

        A metric of `trim` also has `outliers`, how many of the n values its mean leaves out. One of sets has `spread`, and its
        one figure as the mean.
        """
        if metric in self._sets.get(edit, ()):
            return self._sets[edit][metric]
        valid = self.valid(edit, metric)
        meant = trimmed(valid) if metric in self._trim else valid
        return {
            "mean": math.fsum(meant) / len(meant) if meant else None,
            "median": statistics.median(valid) if valid else None,
            "n": len(valid),
            "better": self.better(metric),
            **({"outliers": len(valid) - len(meant)} if metric in self._trim else {}),
        }

    def valid(self, edit: str, metric: str) -> list[float]:
        """The values that could be measured."""
        return [value for _, value in self._valid(edit, metric)]

    def worst(self, edit: str, metric: str) -> list[dict[str, Any]]:
        """Up to five {"key", "value"}, the worst first; the largest changes where neither side is better."""
        better = self.better(metric)
        ordered = sorted(self._valid(edit, metric), key=lambda pair: (_rank(pair[1], better), pair[0]))
        return [{"key": key, "value": value} for key, value in ordered[:WORST]]

    def table(self) -> dict[str, Any]:
        """edit -> metric -> figures."""
        return {e: nested((m, self.figures(e, m)) for m in self.metrics(e)) for e in self.edits()}

    def worst_table(self) -> dict[str, Any]:
        """edit -> metric -> the worst five."""
        return {e: nested((m, self.worst(e, m)) for m in self.metrics(e)) for e in self.edits()}

    def images(self) -> dict[str, Any]:
        """key -> edit -> metric -> value, None where it could not be measured; keys sorted."""
        return {
            key: {edit: nested((m, finite(v)) for m, v in values.items()) for edit, values in self._values[key].items()}
            for key in sorted(self._values)
        }

    def _valid(self, edit: str, metric: str) -> list[tuple[str, float]]:
        pairs = ((key, by_edit.get(edit, {}).get(metric, math.nan)) for key, by_edit in self._values.items())
        return [(key, value) for key, value in pairs if math.isfinite(value)]


def trimmed(values: Sequence[float], low: float = 0.01, high: float = 0.99) -> list[float]:
    """The values within the percentiles `low` and `high` (shares), both taken outwards to an actual value.

    As latent editing consistency is averaged (Tov et al., SIGGRAPH 2021); of up to 100 values none is left out.
    """
    if not values:
        return []
    ordered, last = sorted(values), len(values) - 1
    # Shares of a count are exact in real numbers only: 0.01 * 300 may come out a hair above 3.
    bottom, top = ordered[math.floor(low * last + 1e-9)], ordered[math.ceil(high * last - 1e-9)]
    return [value for value in values if bottom <= value <= top]


def _rank(value: float, better: Better) -> float:
    """Small for bad values."""
    if better == "none":
        return -abs(value)
    return value if better == "higher" else -value


def finite(value: float) -> float | None:
    """A number that JSON can hold; None for NaN and infinities."""
    return value if math.isfinite(value) else None


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """("mse", a), ("attributes.smile", b) -> {"mse": a, "attributes": {"smile": b}}."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        group, dot, part = name.partition(".")
        if dot:
            made.setdefault(group, {})[part] = value
        else:
            made[name] = value
    return made
