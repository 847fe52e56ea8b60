"""The metrics by name: what is known of each before it is loaded, and what the short names `lpips` and `id` stand for.

Every module of `pipelines.metrics` registers its own metrics; another module does so in the same way:

    @metrics.register("brightness", "mean grey level, [-1, 1]", "none")
    class Brightness:
        name = "brightness"
        def __init__(self, tools): ...
        def score(self, trio): return {self.name: trio.result.pixels.mean(dim=(1, 2, 3))}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pipelines.errors import UsageError
from pipelines.metrics.summary import Better
from pipelines.metrics.tools import CodeMetric, Metric, SetMetric, Tools
from pipelines.registry import Entry, Registry, nearest
from pipelines.weights.store import WeightStore

F = TypeVar("F", bound=Callable[[Tools], Any])
MetricKind = Literal["pair", "latent", "set"]


@dataclass(frozen=True)
class MetricEntry(Entry[Any]):
    """What is known of a metric before it is loaded; `build(tools)` gives what its kind is.

    Attributes:
        about: one line for a person, unit included.
        better: which side is better.
        of_edits: it judges edits as it judges inversions (identity); else it tells how much an edit *changed*.
        kind: ``pair``: `build` gives a `Metric`; ``latent``: a `CodeMetric`, whose values count for the inversion; ``set``: a
            `SetMetric`, which has one figure an edit and no value of a picture.
        trim: its mean leaves outliers out (`pipelines.metrics.summary.trimmed`).
    """

    about: str = ""
    better: Better = "none"
    of_edits: bool = False
    kind: MetricKind = "pair"
    trim: bool = False


class MetricRegistry(Registry[MetricEntry]):
    """The metrics; own modules are found by themselves."""

    def register(self, name: str, about: str, better: Better, **more: Any) -> Callable[[F], F]:
        """Decorator of a class or function that builds a metric from `Tools`; arguments as `MetricEntry`'s attributes."""

        def adds(build: F) -> F:
            self.add(name, MetricEntry(build, about=about, better=better, **more))
            return build

        return adds


metrics = MetricRegistry("metric", "pipelines.metrics")

SHORT = {  # best first
    "lpips": ("lpips-alex", "lpips-st-alex"),
    "id": ("id-arcface", "id-dlib"),
    "lec": ("lec-age",),  # the attribute that stays in its calibrated range at +3
}


def known_metrics() -> list[str]:
    """Every name that `--metrics` takes, the short ones first."""
    return [*SHORT, *metrics.names()]


def check_names(names: Iterable[str]) -> None:
    """Raises UsageError for a name that is no metric, with the nearest known ones; reads and loads nothing."""
    known = known_metrics()
    for name in names:
        if name not in known:
            raise UsageError(f"unknown metric '{name}'; known: {', '.join(nearest(name, known))}")


def resolve(names: Iterable[str], store: WeightStore) -> tuple[dict[str, str], list[str]]:
    """Which metric each name means here, its weights fetched.

    A short name takes its best variant whose weights are at hand (in the cache or a mirror folder), else its last one,
    whose weights every package index has.

    Returns:
        ({name as asked: full name}, one note for each better variant whose weights are not at hand).

    Raises:
        UsageError: unknown name.
        WeightsError: weights that cannot be had; for a short name, of its last variant.
    """
    names = list(dict.fromkeys(names))
    check_names(names)
    chosen, notes = {}, []
    for name in names:
        *better, last = SHORT.get(name, (name,))
        for variant in better:
            # Hundreds of megabytes are not fetched because a short name was typed, and what a name means must not
            # depend on whether a host answers today: a better variant is taken where its weights are at hand.
            weights = metrics.get(variant).weights
            if all(store.have(entry) for entry in weights):
                _fetch(variant, store)
                chosen[name] = variant
                break
            pull = " ".join(entry for entry in weights if not store.have(entry))
            notes.append(f"{name} is {last}; for {variant}, run `ganinv weights pull {pull}` first")
        else:
            _fetch(last, store)
            chosen[name] = last
    return chosen, notes


def build_metrics(names: Iterable[str], tools: Tools) -> list[Metric]:
    """Load each metric of kind pair once, by full name, in order."""
    return [metrics.get(name).build(tools) for name in of_kind("pair", names)]


def build_code_metrics(names: Iterable[str], tools: Tools) -> list[CodeMetric]:
    """Load each metric of kind latent once, by full name, in order."""
    return [metrics.get(name).build(tools) for name in of_kind("latent", names)]


def build_set_metrics(names: Iterable[str], tools: Tools) -> list[SetMetric]:
    """Load each metric of kind set once, by full name, in order."""
    return [metrics.get(name).build(tools) for name in of_kind("set", names)]


def of_kind(kind: MetricKind, names: Iterable[str]) -> list[str]:
    """Those of the full names, each once, whose metric is of that kind."""
    return [name for name in dict.fromkeys(names) if metrics.get(name).kind == kind]


def _fetch(name: str, store: WeightStore) -> None:
    for entry in metrics.get(name).weights:
        store.path(entry)
