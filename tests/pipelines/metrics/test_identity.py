from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.identity import ArcFaceIdentity, DlibDescriptors, DlibIdentity, SamePerson
from tests.pipelines.metrics.fakes import black, faces, picture


def _colours(chips: Tensor) -> Tensor:
    """A 'descriptor': the chip's mean colour, then zeros."""
    made = torch.zeros(len(chips), 128)
    made[:, :3] = chips.mean(dim=(2, 3))
    return made


class _Known(DlibDescriptors):
    """Descriptors at a given distance from the source's."""

    def __init__(self, *distances: float) -> None:
        self._distances = torch.tensor(distances)

    def distance(self, trio: Trio) -> Tensor:
        return self._distances


def _trio(source: Faces, result: Faces) -> Trio:
    return Trio(source, None, result)


def test_id_dlib_is_one_for_equals_and_a_half_at_the_limit() -> None:
    nothing = faces([picture(0)])
    scored = DlibIdentity(_Known(0.0, 0.6, 0.9)).score(_trio(nothing, nothing))["id-dlib"]
    torch.testing.assert_close(scored, torch.tensor([1.0, 0.5, 0.25]))


def test_same_person_counts_those_within_the_limit_and_leaves_the_unknown_out() -> None:
    nothing = faces([picture(0)])
    scored = SamePerson(_Known(0.0, 0.59, 0.61, math.nan)).score(_trio(nothing, nothing))["same-person"]
    assert scored[:3].tolist() == [1, 1, 0]
    assert scored[3].isnan()


def test_faces_without_landmarks_are_nan_and_leave_the_others_alone() -> None:
    descriptors = DlibDescriptors(_colours)
    source, result = faces([picture(0), black(), picture(1)]), faces([picture(0), picture(2), picture(2)])
    distance = descriptors.distance(_trio(source, result))
    assert distance[0] == 0
    assert distance[1].isnan()
    alone = descriptors.distance(_trio(faces([picture(1)]), faces([picture(2)])))
    torch.testing.assert_close(distance[2:], alone)
    assert alone.item() > 0.01


def test_a_batch_may_mix_sizes_and_hold_no_face_at_all() -> None:
    descriptors = DlibDescriptors(_colours)
    distance = descriptors.distance(_trio(faces([picture(0, 512), picture(1)]), faces([picture(0), picture(1, 512)])))
    assert distance.max().item() < 0.05, "the same pattern at two sizes has the same colours"
    assert descriptors(faces([black()])).isnan().all()


def test_descriptors_of_a_source_are_computed_once_for_all_edits() -> None:
    calls = []

    def counted(chips: Tensor) -> Tensor:
        calls.append(len(chips))
        return _colours(chips)

    descriptors, source = DlibDescriptors(counted), faces([picture(0)])
    edits = [faces([picture(seed)], source) for seed in (1, 2)]
    for result in edits:
        DlibIdentity(descriptors).score(_trio(source, result))
        SamePerson(descriptors).score(_trio(source, result))
    assert len(calls) == 3, "one source, two results"


def test_id_arcface_is_the_cosine_of_embeddings() -> None:
    def net(pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3)) * 7

    source, result = faces([picture(0), picture(1)]), faces([picture(0), picture(2)])
    scored = ArcFaceIdentity(net).score(_trio(source, result))["id-arcface"]
    assert scored[0].item() == pytest.approx(1, abs=1e-6)
    assert scored[1].item() < 0.999


@pytest.mark.weights
def test_real_descriptors_tell_one_person_from_another(store: object) -> None:
    """Two photos of one man lie within the limit, another man does not: the metric's whole point, on real faces."""
    from pipelines.images.pixels import decode
    from pipelines.metrics.registry import build_metrics
    from pipelines.metrics.tools import Tools
    from pipelines.stages.align.aligner import Aligner, locate
    from pipelines.weights.store import WeightStore

    assert isinstance(store, WeightStore)
    tools = Tools(store, torch.device("cpu"))
    aligner = Aligner(tools.finder, size=512)

    def crop(name: str) -> Faces:
        found = aligner(decode(Path(store.path(name)).read_bytes()))
        return faces([found[0].crop], find=lambda image: locate(image, tools.finder))

    obama, again, biden = crop("sample-obama"), crop("sample-obama2"), crop("sample-biden")
    identity, same = build_metrics(["id-dlib", "same-person"], tools)
    values = {
        name: identity.score(_trio(obama, other))["id-dlib"].item()
        for name, other in {"self": obama, "again": again, "biden": biden}.items()
    }
    assert values["self"] == pytest.approx(1, abs=1e-5)
    assert 1 > values["again"] > 0.5 > values["biden"]
    assert same.score(_trio(obama, again))["same-person"].item() == 1
    assert same.score(_trio(obama, biden))["same-person"].item() == 0
