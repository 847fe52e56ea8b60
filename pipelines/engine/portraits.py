"""Single portraits beside a run's input: references that amounts are read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.edits import refuse_shared_names
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import to_tensor
from pipelines.metrics.attributes import METER, attribute_meter
from pipelines.specs import EditSpec
from pipelines.stages.align.detectors import build_aligner
from pipelines.stages.edit.amounts import Amounts
from pipelines.stages.edit.directions import measured_scales
from pipelines.stages.edit.references import edits_like
from pipelines.weights.store import WeightStore


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
