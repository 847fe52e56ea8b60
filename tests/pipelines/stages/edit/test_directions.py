"""Directions that go another way below 0, and the shipped ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.stages.edit.directions import own_directions, with_below, with_holds


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


def held() -> DirectionSet:
    """`smile` that holds `mouth_open` by half, of codes read by their third number."""
    look = torch.zeros(512)
    look[2] = 1.0
    return DirectionSet(with_holds(two(), {"smile": {"mouth_open": 0.5}}, {"mouth_open": (look, 0.25)}))


def test_what_is_held_depends_on_the_face() -> None:
    """Below 0 each face is pushed towards the side it is on; above 0, and by the other direction, none is."""
    known = held()
    codes = torch.zeros(3, 18, 512)
    codes[:, :, 2] = torch.tensor([4.75, -0.25, -5.25])[:, None]  # readings 1, 0, -1
    smile, mouth = known.get("smile").vector, known.get("mouth_open").vector
    moved = known.apply(codes, [("smile", -2.0)]) - codes
    for face, side in zip(moved, (1, 0, -1), strict=True):
        torch.testing.assert_close(face, -2 * smile + side * mouth, atol=1e-3, rtol=0)
    assert torch.equal(known.apply(codes, [("smile", 2.0)]), codes + 2 * smile)
    assert torch.equal(known.apply(codes, [("smile@2-5", -2.0)]), codes - 2 * smile)
    assert torch.equal(known.apply(codes, [("mouth_open", -1.0)]), codes - mouth)
    assert torch.equal(known.apply(codes[1:2], [("smile", -2.0)])[0], known.apply(codes, [("smile", -2.0)])[1])


def test_faces_are_read_before_other_terms_move_them() -> None:
    known = held()
    codes = torch.zeros(1, 18, 512)
    there = known.apply(codes, [("mouth_open", 3.0), ("smile", -1.0)])
    back = known.apply(codes, [("smile", -1.0), ("mouth_open", 3.0)])
    torch.testing.assert_close(there, back)


def test_a_digest_is_of_what_is_held() -> None:
    assert held().get("smile").digest != two()[0].digest
    assert held().get("mouth_open").digest == two()[1].digest


def test_who_gets_younger_stays_who_they_are() -> None:
    known = {each.name: each for each in own_directions(18)}
    age = known["age"].hold
    assert age is not None
    assert torch.allclose(age.vector, 0.6 * known["gender"].vector)
    assert all(each.hold is None for name, each in known.items() if name != "age")
