"""The face detectors that `--detector` names, and the aligner built on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.models.faces import DlibFinder, RetinaFinder
from pipelines.registry import Registry
from pipelines.specs import AlignSpec
from pipelines.stages.align import Aligner
from pipelines.types import FaceFinder
from pipelines.weights.store import WeightStore

LANDMARKS = "landmarks-68"


@dataclass(frozen=True)
class Detector:
    """How to build a detector. `entries` are the catalogue's weights that it needs; `build` loads them."""

    entries: tuple[str, ...]
    build: Callable[[WeightStore], FaceFinder]


detectors: Registry[Detector] = Registry("detector")
detectors.add("dlib", Detector((LANDMARKS,), lambda store: DlibFinder(store.path(LANDMARKS))))
detectors.add(
    "facexlib",
    Detector(
        ("retinaface-mobile0.25",), lambda store: RetinaFinder(store.tensors("retinaface-mobile0.25"), "mobile0.25")
    ),
)
detectors.add(
    "facexlib-resnet50",
    Detector(("retinaface-resnet50",), lambda store: RetinaFinder(store.tensors("retinaface-resnet50"), "resnet50")),
)


def build_aligner(spec: AlignSpec, store: WeightStore) -> Aligner:
    """The aligner of a spec; raises UsageError for an unknown detector, WeightsError where its weights are missing."""
    finder = detectors.get(spec.detector).build(store)
    return Aligner(finder, size=spec.size, faces=spec.faces, min_score=spec.min_score, min_size=spec.min_size)
