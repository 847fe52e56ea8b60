"""What is said of a part before it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.specs import InvertSpec
from pipelines.stages.build import plan_chain
from pipelines.stages.entry import embedders, refiners
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore


def test_only_what_compares_identity_looks_at_landmarks() -> None:
    looking = {name for registry in (embedders, refiners) for name in registry.names() if registry.get(name).landmarks}
    assert looking == {"optimize", "lsap-o", "cycle"}


@pytest.mark.parametrize(
    ("method", "wanted"), [("e4e", False), ("sdic", False), ("optimize", True), ("feature", False)]
)
def test_a_chain_wants_landmarks_where_a_part_does(tmp_path: Path, method: str, wanted: bool) -> None:
    store = WeightStore(StoreConfig(home=tmp_path))
    spec = InvertSpec(input=tmp_path, output=tmp_path / "out", method=method)
    assert plan_chain(spec, store).landmarks is wanted
