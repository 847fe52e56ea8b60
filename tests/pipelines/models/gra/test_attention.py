"""Selective attention: near choices agree with dense ones, and what is chosen is mixed as it says."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.models.gra.attention import Match, Scale, children, match, mix, search, tokens

SCALE = Scale(torch.tensor(30.0), torch.tensor(0.01))


def pattern(side: int, seed: int = 0, width: int = 8) -> Tensor:
    return torch.randn(2, width, side, side, generator=torch.Generator().manual_seed(seed))


def test_near_search_agrees_with_the_dense_one_where_the_parents_chose_everything() -> None:
    query, key = tokens(pattern(16)), tokens(pattern(16, 1))
    every = torch.arange(64).expand(2, 64, 64)
    near, dense = search(query, key, SCALE, 256, every), search(query, key, SCALE, 256)
    assert torch.equal(near.sort(dim=2).values, dense.sort(dim=2).values)
    values = pattern(16, 2)
    some = [mix(match(query, key, SCALE, index[:, :, :5]), values) for index in (near, dense)]
    assert torch.allclose(*some, atol=1e-5)


def test_near_search_stays_with_the_children_of_the_parents() -> None:
    parents = torch.randint(0, 64, (2, 64, 2), generator=torch.Generator().manual_seed(3))
    index = search(tokens(pattern(16)), tokens(pattern(16, 1)), SCALE, 4, parents)
    for face in range(2):
        for place in (0, 17, 100, 255):
            parent = (place // 16 // 2) * 8 + place % 16 // 2
            chosen = parents[face, parent]
            for at in index[face, place]:
                apart = [(int(at) // 16 - 2 * (int(p) // 8), int(at) % 16 - 2 * (int(p) % 8)) for p in chosen]
                assert any(-1 <= dy <= 2 and -1 <= dx <= 2 for dy, dx in apart)


def test_candidates_stand_once() -> None:
    offered, again = children(torch.tensor([[0, 0, 1]]).repeat(64, 1), 16)
    for row, double in zip(offered[:2], again[:2], strict=True):
        kept = row[~double].tolist()
        assert len(kept) == len(set(kept))
        assert set(kept) == set(row.tolist())


def test_a_face_is_searched_the_same_in_any_batch() -> None:
    query, key = tokens(pattern(16)), tokens(pattern(16, 1))
    parents = torch.randint(0, 64, (2, 64, 2), generator=torch.Generator().manual_seed(3))
    assert torch.equal(search(query, key, SCALE, 4, parents)[1:], search(query[1:], key[1:], SCALE, 4, parents[1:]))


def test_flow_points_to_where_a_place_came_from() -> None:
    index = (torch.arange(16)[None, :, None] + 1).clamp(max=15)
    flow = Match(index, torch.ones(1, 16, 1), torch.ones(1, 16)).flow(4)
    assert torch.equal(flow[0, :, 0, 0], torch.tensor([1.0, 0.0]))
