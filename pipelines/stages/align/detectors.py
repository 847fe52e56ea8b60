"""The face detectors that `--detector` names, and the aligner built on one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.models.faces.dlib_resnet import load_dlib_resnet
from pipelines.models.faces.finders import DlibFinder, RetinaFinder
from pipelines.models.faces.yunet import YuNetFinder
from pipelines.registry import Registry
from pipelines.specs import AlignSpec
from pipelines.stages.align.aligner import Aligner
from pipelines.stages.align.search import Search
from pipelines.stages.align.select import Choice, Like, ordinal
from pipelines.types import FaceFinder
from pipelines.weights.formats.dlib_dat import read_dlib_resnet
from pipelines.weights.store import WeightStore

LANDMARKS, YUNET, PERSON = "landmarks-68", "yunet", "id-dlib"
_CLEAR = 0.5  # of dlib's margin: eyes without a mouth, and worse, were found with up to 0.9, most with less than 0.5
_FIRST_SIDE = 640  # px: holds every face that is wider than an eighth of the photo
_CROP_SIDE = 256  # px: a face of an aligned crop is about 115 px wide then, and at least 80 are needed


@dataclass(frozen=True)
class Detector:
    """How to build a detector: `build` loads the catalogue's `entries`, and is told whether only the largest face of a
    photo matters; `version` changes when its finds may; from the score `sure` on they are upright faces without a second
    look."""

    entries: tuple[str, ...]
    version: str
    build: Callable[[WeightStore, bool], FaceFinder]
    sure: float = -math.inf


detectors: Registry[Detector] = Registry("detector")


def _add_retina(name: str, entry: str, network: Literal["mobile0.25", "resnet50"]) -> None:
    detectors.add(
        name,
        Detector(
            (entry,), RetinaFinder.version, lambda store, _: RetinaFinder(store.tensors(entry), network), math.inf
        ),
    )


def _dlib(store: WeightStore, largest: bool) -> DlibFinder:
    return DlibFinder(store.path(LANDMARKS), first_side=_FIRST_SIDE if largest else None)


detectors.add("dlib", Detector((LANDMARKS,), DlibFinder.version, _dlib, _CLEAR))
_add_retina("facexlib", "retinaface-mobile0.25", "mobile0.25")
_add_retina("facexlib-resnet50", "retinaface-resnet50", "resnet50")
detectors.add(YUNET, Detector((YUNET,), YuNetFinder.version, lambda store, _: YuNetFinder(store.path(YUNET)), math.inf))


def build_locator(store: WeightStore) -> FaceFinder:
    """What reads 68 landmarks in crops that are aligned already; raises WeightsError where its weights are missing."""
    return DlibFinder(store.path(LANDMARKS), first_side=_CROP_SIDE)


def build_aligner(spec: AlignSpec, store: WeightStore) -> Aligner:
    """The aligner of a spec; raises UsageError for an unknown detector, WeightsError where its weights are missing."""
    # A face may be clear enough for `min_score` only in the larger copy: then no smaller one comes first.
    alone = spec.faces == "largest" and spec.min_score is None and spec.select in (None, "largest")
    detector = detectors.get(spec.detector)
    return Aligner(
        detector.build(store, alone),
        size=spec.size,
        faces=spec.faces,
        min_score=spec.min_score,
        min_size=spec.min_size,
        search=Search(YuNetFinder(store.path(YUNET))),
        sure=detector.sure,
        choose=_choice(spec, store),
        margin=spec.margin,
    )


def _choice(spec: AlignSpec, store: WeightStore) -> Choice | None:
    if spec.select is None or not spec.selects_person:
        return None if spec.select is None else ordinal(spec.select)
    plain = spec.model_copy(
        update={"select": None, "faces": "largest", "min_score": None, "min_size": 0, "margin": 0.0}
    )
    network = load_dlib_resnet(read_dlib_resnet(store.path(PERSON))).eval()
    return Like(Path(spec.select), build_aligner(plain, store), build_locator(store), network)


def search_weights(spec: AlignSpec) -> tuple[str, ...]:
    """The catalogue entries that finding and choosing faces needs."""
    more = (PERSON, LANDMARKS) if spec.selects_person else ()
    return tuple(dict.fromkeys((*detectors.get(spec.detector).entries, YUNET, *more)))
