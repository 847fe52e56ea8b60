"""Directions that go another way below 0, and the shipped ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.stages.edit.directions import own_directions, with_below


def two() -> list[Direction]:
    first, second = torch.zeros(18, 512), torch.zeros(18, 512)
    first[2:6, 0], second[3:8, 1] = 1.0, 1.0
    return [Direction("smile", first, "u", "t"), Direction("mouth_open", second, "u", "t")]


def test_below_zero_another_vector_is_added() -> None:
    known = DirectionSet(with_below(two(), {"smile": {"mouth_open": 0.5}}))
    codes = torch.zeros(1, 18, 512)
    plain = known.get("smile").vector
    assert torch.equal(known.apply(codes, [("smile", 2.0)])[0], 2 * plain)
    below = known.apply(codes, [("smile", -2.0)])[0]
    assert torch.equal(below, -2 * plain - known.get("mouth_open").vector)
    assert torch.equal(known.apply(codes, [("smile@2-5", -2.0)])[0], -2 * plain)  # rows that a person typed
    assert torch.equal(known.apply(codes, [("mouth_open", -1.0)])[0], -known.get("mouth_open").vector)


def test_a_digest_is_of_both_ways() -> None:
    plain, below = two()[0], with_below(two(), {"smile": {"mouth_open": 0.5}})[0]
    assert plain.digest == replace(plain, unit="another").digest
    assert plain.digest != below.digest


def test_a_smile_that_goes_closes_the_mouth() -> None:
    known = {each.name: each for each in own_directions(18)}
    smile, mouth = known["smile"], known["mouth_open"]
    assert smile.below is not None
    taken = smile.below - smile.vector
    assert torch.allclose(taken, 0.7 * mouth.vector, atol=1e-6)
    assert all(each.below is None for name, each in known.items() if name != "smile")
