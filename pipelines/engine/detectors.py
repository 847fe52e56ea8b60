"""The face detectors that `--detector` names, and the aligner built on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipelines.models.faces import DlibFinder, RetinaFinder
from pipelines.registry import Registry
from pipelines.specs import AlignSpec
from pipelines.stages.align import Aligner
from pipelines.types import FaceFinder
from pipelines.weights.store import WeightStore

LANDMARKS = "landmarks-68"


@dataclass(frozen=True)
class Detector:
    """How to build a detector: `build` loads the catalogue's `entries`; `version` changes when its finds may."""

    entries: tuple[str, ...]
    version: str
    build: Callable[[WeightStore], FaceFinder]


detectors: Registry[Detector] = Registry("detector")


def _add_retina(name: str, entry: str, network: Literal["mobile0.25", "resnet50"]) -> None:
    detectors.add(
        name, Detector((entry,), RetinaFinder.version, lambda store: RetinaFinder(store.tensors(entry), network))
    )


detectors.add("dlib", Detector((LANDMARKS,), DlibFinder.version, lambda store: DlibFinder(store.path(LANDMARKS))))
_add_retina("facexlib", "retinaface-mobile0.25", "mobile0.25")
_add_retina("facexlib-resnet50", "retinaface-resnet50", "resnet50")


def build_aligner(spec: AlignSpec, store: WeightStore) -> Aligner:
    """The aligner of a spec; raises UsageError for an unknown detector, WeightsError where its weights are missing."""
    finder = detectors.get(spec.detector).build(store)
    return Aligner(finder, size=spec.size, faces=spec.faces, min_score=spec.min_score, min_size=spec.min_size)
