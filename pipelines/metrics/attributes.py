"""What an edit did to every attribute, in the unit of strengths: its effect and its leakage, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.faces.glasses import GLASSES_ASSET
from pipelines.models.faces.years import YEARS_ASSET
from pipelines.types import F32Array, FaceFinder, U8Image
from pipelines.weights.store import WeightStore

METER = (LANDMARKS, "gender-dlib", YEARS_ASSET, GLASSES_ASSET)
Measure = Callable[[list[U8Image]], Mapping[str, F32Array]]


def attribute_meter(store: WeightStore, finder: FaceFinder | None = None) -> Measure:
    """What measures every attribute of pictures (`pipelines.models.faces.attributes.AttributeMeter`); needs `METER`."""
    from pipelines.models.faces.agegender import DlibGender
    from pipelines.models.faces.attributes import AttributeMeter
    from pipelines.models.faces.glasses import load_glasses
    from pipelines.models.faces.years import load_years

    gender = DlibGender(store.path("gender-dlib"))
    years, glasses = load_years(store.tensors(YEARS_ASSET)), load_glasses(store.tensors(GLASSES_ASSET))
    return AttributeMeter(finder or DlibFinder(store.path(LANDMARKS)), gender, years, glasses).measure


class AttributeChange:
    """`attributes.NAME`: the attribute measured in the result minus that in the base, in standard deviations.

    The base of an edit is the inversion; that of the inversion is the source, so that its row tells what inverting
    alone changed. A perfect ``smile+2`` reads smile 2 and everything else 0. Neither side is better.

    Args:
        measure: pictures -> attribute -> n raw values, NaN where no face was found.
        scales: attribute -> standard deviation over the generator's own faces; only these attributes are reported.
    """

    name = "attributes"

    def __init__(self, measure: Measure, scales: Mapping[str, float]) -> None:
        self._measure = measure
        self._scales = dict(scales)

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{"attributes.NAME": n changes}; empty where there is no base."""
        if trio.base is None:
            return {}
        return {f"{self.name}.{name}": values for name, values in self.between(trio.base, trio.result).items()}

    def between(self, before: Faces, after: Faces) -> dict[str, Tensor]:
        """attribute -> n changes, in standard deviations; NaN where a picture shows no face."""
        old, new = self._of(before), self._of(after)
        return {
            name: torch.from_numpy((new[name] - old[name]) / scale)
            for name, scale in self._scales.items()
            if name in new
        }

    def _of(self, faces: Faces) -> Mapping[str, F32Array]:
        return faces.memo(self.name, lambda: self._measure(faces.images))


def shared_change(tools: Tools) -> AttributeChange:
    """The one that all metrics of attributes share, so that networks are loaded once."""
    return tools.shared("attributes", lambda: AttributeChange(attribute_meter(tools.store, tools.finder), tools.scales))


@metrics.register(
    AttributeChange.name,
    "change from the inversion, standard deviations",
    "none",
    weights=METER,
)
def _build(tools: Tools) -> AttributeChange:
    return shared_change(tools)
