"""The one field map of an inversion: whatever is a field goes along everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pipelines.errors import PhotoError
from pipelines.kept import kept
from pipelines.records.latents import load_as, load_inversion, save_inversion
from pipelines.types import FaceBatch, Inversion


@dataclass(frozen=True)
class Wider(Inversion):
    """One field more, and nothing else."""

    maps: Mapping[str, Tensor] = kept("map", torch.float16, default_factory=dict)


def wider(seed: int, count: int = 2) -> Wider:
    rng = torch.Generator().manual_seed(seed)
    return Wider(
        torch.randn(count, 18, 4, generator=rng),
        {64: torch.randn(count, 2, 4, 4, generator=rng), "64b": torch.randn(count, 2, 4, 4, generator=rng)},
        {"block.weight": torch.randn(count, 3, generator=rng)},
        {"loss": torch.randn(count, generator=rng)},
        {"depth": torch.randn(count, 1, 8, 8, generator=rng)},
    )


def same(one: Inversion, two: Inversion, tolerance: float = 0.0) -> bool:
    all_of = [{(how, key): tensor for how, key, tensor in each.tensors()} for each in (one, two)]
    close = (torch.allclose(tensor, all_of[1][place], atol=tolerance) for place, tensor in all_of[0].items())
    return all_of[0].keys() == all_of[1].keys() and all(close)


def test_a_field_that_is_added_reaches_slices_joins_devices_and_files() -> None:
    one, two = wider(0), wider(1)
    joined = Wider.cat([one, two])
    assert len(joined) == 4
    assert same(joined[:2], one)
    assert same(joined[torch.tensor([3, 2])], two[torch.tensor([1, 0])])
    moved = joined.to(torch.device("meta"))
    assert {t.device.type for how, _, t in moved.tensors()} == {"meta", "cpu"}
    assert moved.maps["depth"].device.type == "meta"
    assert moved.scores["loss"].device.type == "cpu"
    found, about = load_as(Wider, save_inversion(joined, 2, {"source": "x"}))
    assert about == {"source": "x"}
    assert same(found, joined[2:3].stored(), 1e-6)
    assert torch.equal(found.maps["depth"], joined.maps["depth"][2:3].half().float())


def test_joining_goes_by_name_and_not_by_order() -> None:
    one = wider(0)
    turned = Wider(one.latents, dict(reversed(one.residuals.items())), one.deltas, one.scores, one.maps)
    assert same(Wider.cat([one, turned])[2:], one)


def test_only_what_was_fitted_alike_is_joined() -> None:
    one = wider(0)
    assert one.like() == wider(1).like()
    assert one.like() != Wider(one.latents).like()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_codes_on_disk_that_are_not_finite_are_refused(value: float) -> None:
    broken = wider(0)
    broken.residuals[64][0, 0, 0, 0] = value
    with pytest.raises(PhotoError, match="not finite"):
        load_inversion(save_inversion(broken, 0, {}))


def test_a_batch_of_faces_is_cut_with_its_landmarks() -> None:
    faces = FaceBatch(torch.rand(3, 3, 8, 8), torch.rand(3, 68, 2))
    assert len(faces[1:]) == 2
    assert torch.equal(faces[torch.tensor([2])].landmarks, faces.landmarks[2:])  # type: ignore[index]
    bare = FaceBatch(faces.images)
    assert bare[:1].landmarks is None
    assert bare.points().isnan().all()
