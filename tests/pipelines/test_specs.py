"""Options are checked once, at the edge."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.edits import parse_edits
from pipelines.specs import AlignSpec, EditSpec, InvertSpec


def test_defaults_shards_and_pickling() -> None:
    spec = EditSpec(input="faces", output="edits", shard="2/8", edits=parse_edits(["smile=1"]))  # type: ignore[arg-type]
    assert spec.shard == (2, 8)
    assert (spec.size, spec.format, spec.seed, spec.method) == (1024, "png", 0, "photo")
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert EditSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"shard": "0/2"}, "shard"),
        ({"shard": "3/2"}, "shard"),
        ({"shard": "1-2"}, "shard"),
        ({"shard": "a/b"}, "shard"),
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"limit": 0}, "limit"),
        ({"max_errors": 0}, "max_errors"),
        ({"seed": -1}, "seed"),
        ({"format": "bmp"}, "format"),
        ({"faces": "some"}, "faces"),
        ({"size": 0}, "size"),
        ({"min_score": float("nan")}, "min_score"),
        ({"colour": "red"}, "colour"),
        ({"overwrite": True, "retry_failed": True}, "retry_failed"),
    ],
)
def test_mistakes_name_the_option(changed: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        AlignSpec(input=Path("a"), output=Path("b"), **changed)


def test_align_and_aligned_exclude_each_other_and_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="choose one"):
        InvertSpec(input=Path("a"), output=Path("b"), align=True, aligned=True)
    spec = InvertSpec(input=Path("a"), output=Path("b"))
    with pytest.raises(ValidationError, match="frozen"):
        spec.seed = 3
