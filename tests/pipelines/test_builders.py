"""What is said of a part before it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.builders import embedders, refiners
from pipelines.chain import plan_chain
from pipelines.specs import InvertSpec
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore


def test_what_compares_faces_looks_at_their_landmarks() -> None:
    for registry in (embedders, refiners):
        for name in registry.names():
            part = registry.get(name)
            assert part.landmarks == ("id-dlib" in part.entries), name


@pytest.mark.parametrize(("method", "wanted"), [("e4e", False), ("sdic", False), ("optimize", True), ("feature", True)])
def test_a_chain_wants_landmarks_where_a_part_does(tmp_path: Path, method: str, wanted: bool) -> None:
    store = WeightStore(StoreConfig(home=tmp_path))
    spec = InvertSpec(input=tmp_path, output=tmp_path / "out", method=method)
    assert plan_chain(spec, store).landmarks is wanted
