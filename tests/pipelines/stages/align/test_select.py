"""`--select` looks at every face of a photo; by the person, on real faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import PhotoError, UsageError
from pipelines.images.pixels import decode, read_photo, resize_u8
from pipelines.specs import AlignSpec
from pipelines.stages.align.detectors import Detector, build_aligner, detectors
from pipelines.types import Face, FaceFinder, U8Image
from pipelines.weights.store import WeightStore

EVAL = "photos/eval"


class Nobody:
    name, version = "nobody", "1"

    def find(self, image: U8Image) -> list[Face]:
        return []


@pytest.mark.parametrize(
    ("options", "alone"),
    [
        ({}, True),
        ({"select": "largest"}, True),
        ({"select": "left"}, False),
        ({"select": "1"}, False),
        ({"faces": "all"}, False),
    ],
)
def test_only_the_largest_face_may_be_looked_for_alone(
    store: WeightStore, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], alone: bool
) -> None:
    told = []

    def build(store: WeightStore, largest: bool) -> FaceFinder:
        told.append(largest)
        return Nobody()

    monkeypatch.setattr(detectors, "get", lambda name: Detector((), "1", build))
    build_aligner(AlignSpec(input=Path("x"), **options), store)
    assert told == [alone]


@pytest.fixture(scope="module")
def group(shared: Path) -> U8Image:
    """Three people side by side, 500 px high: from the left a man, Obama (cut off by the middle of his face), a woman."""
    names = ("13-stylefeature-gosling.jpg", "44-facerecognit-obama_partial_face2.jpg", "15-stylefeature-watson.jpeg")
    people = [decode(read_photo(shared / EVAL / name)) for name in names]
    people[1] = people[1][:700]  # half a person stands higher than the others
    return np.hstack([resize_u8(each, round(each.shape[1] * 500 / len(each)), 500) for each in people])


def place(group: U8Image, like: Path, store: WeightStore) -> float:
    """Where, in px from the left, the face lies that was chosen."""
    [face] = build_aligner(AlignSpec(input=Path("x"), size=256, select=str(like)), store)(group)
    return float(np.mean([x for x, _ in face.quad]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_person_is_found_in_a_group_by_another_photo(group: U8Image, shared: Path, store: WeightStore) -> None:
    found = [
        place(group, shared / EVAL / name, store)
        for name in ("43-facerecognit-obama-240p.jpg", "15-stylefeature-watson.jpeg")
    ]
    assert found == [pytest.approx(1183, abs=30), pytest.approx(1650, abs=30)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_somebody_else_is_nobody(group: U8Image, shared: Path, store: WeightStore, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="none of 3 faces is the person"):
        place(group, shared / EVAL / "51-facenetpytor-paul_rudd_1.jpg", store)
    (tmp_path / "none.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="--select"):
        place(group, tmp_path / "none.jpg", store)
