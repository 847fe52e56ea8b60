"""The metrics by name: the weights each needs, how it is built, and what the short names `lpips` and `id` stand for.

Two kinds live here: *pair* metrics compare pictures, *latent* metrics judge the codes that a run stored. A metric's network
modules are imported when it is built, so that a run without it needs none of their libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.metrics import lec, nscd, pair
from pipelines.metrics.attributes import AttributeChange
from pipelines.metrics.background import OutsideError
from pipelines.metrics.faces import Trio
from pipelines.metrics.identity import ArcFaceIdentity, DlibDescriptors, DlibIdentity, SamePerson
from pipelines.metrics.perceptual import Perceptual
from pipelines.metrics.summary import Better
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.generators.style_space import StyleCentre
from pipelines.registry import Registry, nearest
from pipelines.types import MetricKind
from pipelines.weights.store import WeightStore

LANDMARKS = "landmarks-68"


class Metric(Protocol):
    """A metric, loaded. `score` gives {name: n values}, NaN where a picture cannot be judged, {} where none can."""

    name: str

    def score(self, trio: Trio) -> dict[str, Tensor]: ...


class CodeMetric(Protocol):
    """A metric of kind latent, loaded: codes n x L x 512, the average latent included -> n values."""

    name: str

    def score(self, codes: Tensor) -> Tensor: ...


class CodeTools(Protocol):
    """What made a run's codes, loaded when first asked for."""

    def open(self) -> None:
        """Load the generator and the embedder now; raises WeightsError where their weights cannot be had."""

    def centre(self) -> StyleCentre:
        """Of the run's generator."""

    def direction(self, name: str) -> Tensor:
        """One of our own directions, L x 512."""

    def render(self, codes: Tensor) -> Tensor:
        """The run's generator: codes n x L x 512 -> n x 3 x R x R, [-1, 1]."""

    def embed(self, images: Tensor) -> Tensor:
        """The run's embedder: those pictures -> n x L x 512."""


class Pixels:
    """A metric of two pictures' pixels at 256 px, from `pipelines.metrics.pair`; needs no weights."""

    def __init__(self, name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.name = name
        self._function = function

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values}, source to result."""
        return {self.name: self._function(trio.source.pixels, trio.result.pixels)}


class Tools:
    """What metrics are built from; networks that two of them share are loaded once.

    Args:
        store: where weights come from.
        device: where networks go.
        run_codes: what made the run's codes; needed by metrics of kind latent alone. May be set later.
        scales: attribute -> its standard deviation over the generator's faces (those of our own directions' card).
    """

    def __init__(
        self,
        store: WeightStore,
        device: torch.device,
        run_codes: CodeTools | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self.scales = dict(scales or {})
        self.store = store
        self.device = device
        self.run_codes = run_codes

    @property
    def codes(self) -> CodeTools:
        """What made the run's codes; raises UsageError where there is no run."""
        if self.run_codes is None:
            raise UsageError("metrics of codes need a folder that invert or edit wrote, with its run.json")
        return self.run_codes

    @cached_property
    def finder(self) -> DlibFinder:
        """The 68-point face finder."""
        return DlibFinder(self.store.path(LANDMARKS))

    @cached_property
    def dlib_descriptors(self) -> DlibDescriptors:
        """dlib's descriptors, for `id-dlib` and `same-person`."""
        from pipelines.models.faces.dlib_resnet import load_dlib_resnet
        from pipelines.weights.formats.dlib_dat import read_dlib_resnet

        network = load_dlib_resnet(read_dlib_resnet(self.store.path("id-dlib")))
        return DlibDescriptors(network.eval().to(self.device))


@dataclass(frozen=True)
class MetricEntry:
    """What is known of a metric before it is loaded.

    Attributes:
        about: one line for a person, unit included.
        better: which side is better.
        entries: catalogue entries that it needs.
        build: loads it.
        of_edits: it judges edits as it judges inversions (identity); else it tells how much an edit *changed*.
        kind: ``pair``: `build` gives a `Metric`; ``latent``: a `CodeMetric`, whose values count for the inversion.
        trim: its mean leaves outliers out (`pipelines.metrics.summary.trimmed`).
    """

    about: str
    better: Better
    entries: tuple[str, ...]
    build: Callable[[Tools], Any]
    of_edits: bool = False
    kind: MetricKind = "pair"
    trim: bool = False


def _lpips(tools: Tools) -> Metric:
    from pipelines.models.perceptual.lpips import build_lpips

    return Perceptual("lpips-alex", build_lpips(tools.store.tensors("lpips-alex-trunk")).eval().to(tools.device))


def _st_lpips(tools: Tools) -> Metric:
    from pipelines.models.perceptual.stlpips import build_stlpips

    return Perceptual(
        "lpips-st-alex", build_stlpips(tools.store.tensors("st-lpips-alex"), "alex").eval().to(tools.device)
    )


def _arcface(tools: Tools) -> Metric:
    from pipelines.models.faces.arcface import build_arcface

    return ArcFaceIdentity(build_arcface(tools.store.tensors("arcface-irse50")).eval().to(tools.device))


def _attributes(tools: Tools) -> Metric:
    from pipelines.models.faces.agegender import AgeGender
    from pipelines.models.faces.attributes import AttributeMeter

    people = AgeGender(tools.store.path("age-dlib"), tools.store.path("gender-dlib"))
    return AttributeChange(AttributeMeter(tools.finder, people).measure, tools.scales)


def _lec(direction: str) -> Callable[[Tools], CodeMetric]:
    def build(tools: Tools) -> CodeMetric:
        codes = tools.codes
        codes.open()
        return lec.EditConsistency(direction, codes.direction(direction), codes.render, codes.embed)

    return build


def _pixels(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tools], Metric]:
    return lambda tools: Pixels(name, function)


_DLIB = ("id-dlib", LANDMARKS)
METRICS: Registry[MetricEntry] = Registry("metric")
_add = METRICS.add
_add("lpips-alex", MetricEntry("LPIPS, AlexNet, 256 px", "lower", ("lpips-alex-trunk",), _lpips))
_add("lpips-st-alex", MetricEntry("shift-tolerant LPIPS, AlexNet, 256 px", "lower", ("st-lpips-alex",), _st_lpips))
_add("id-arcface", MetricEntry("cosine of ArcFace embeddings", "higher", ("arcface-irse50",), _arcface, True))
_add(
    "id-dlib",
    MetricEntry(
        "1 - dlib distance / 1.2 (0.5 = same-person limit)",
        "higher",
        _DLIB,
        lambda tools: DlibIdentity(tools.dlib_descriptors),
        True,
    ),
)
_add(
    "same-person",
    MetricEntry(
        "share within dlib distance 0.6", "higher", _DLIB, lambda tools: SamePerson(tools.dlib_descriptors), True
    ),
)
_add("psnr", MetricEntry("dB, 256 px", "higher", (), _pixels("psnr", pair.psnr)))
_add("ssim", MetricEntry("256 px, RGB", "higher", (), _pixels("ssim", pair.ssim)))
_add("ms-ssim", MetricEntry("256 px, RGB", "higher", (), _pixels("ms-ssim", pair.ms_ssim)))
_add("mse", MetricEntry("on [-1, 1], 256 px", "lower", (), _pixels("mse", pair.mse)))
_add("mse-outside", MetricEntry("mse outside the source's face", "lower", (LANDMARKS,), lambda _: OutsideError(), True))
_add(
    "attributes",
    MetricEntry(
        "change from the inversion, standard deviations",
        "none",
        (LANDMARKS, "age-dlib", "gender-dlib"),
        _attributes,
    ),
)
_add(
    "nscd",
    MetricEntry(nscd.ABOUT, "lower", (), lambda tools: nscd.StyleDistance(tools.codes.centre()), kind="latent"),
)
for _direction in ("age", "yaw", "smile"):
    _add(
        f"lec-{_direction}",
        MetricEntry(lec.about(_direction), "lower", (LANDMARKS,), _lec(_direction), kind="latent", trim=True),
    )

SHORT = {  # best first
    "lpips": ("lpips-alex", "lpips-st-alex"),
    "id": ("id-arcface", "id-dlib"),
    "lec": ("lec-age",),  # the attribute that stays in its calibrated range at +3
}


def known_metrics() -> list[str]:
    """Every name that `--metrics` takes, the short ones first."""
    return [*SHORT, *METRICS.names()]


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
            entries = METRICS.get(variant).entries
            if all(store.have(entry) for entry in entries):
                _fetch(variant, store)
                chosen[name] = variant
                break
            pull = " ".join(entry for entry in entries if not store.have(entry))
            notes.append(f"{name} is {last}; for {variant}, run `ganinv weights pull {pull}` first")
        else:
            _fetch(last, store)
            chosen[name] = last
    return chosen, notes


def build_metrics(names: Iterable[str], tools: Tools) -> list[Metric]:
    """Load each metric of kind pair once, by full name, in order."""
    return [METRICS.get(name).build(tools) for name in of_kind("pair", names)]


def build_code_metrics(names: Iterable[str], tools: Tools) -> list[CodeMetric]:
    """Load each metric of kind latent once, by full name, in order."""
    return [METRICS.get(name).build(tools) for name in of_kind("latent", names)]


def of_kind(kind: MetricKind, names: Iterable[str]) -> list[str]:
    """Those of the full names, each once, whose metric is of that kind."""
    return [name for name in dict.fromkeys(names) if METRICS.get(name).kind == kind]


def _fetch(name: str, store: WeightStore) -> None:
    for entry in METRICS.get(name).entries:
        store.path(entry)
