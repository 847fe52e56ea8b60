"""The pool of codes: what it returns while it fills and after, and that a resumed one repeats exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.training.losses.latent_pool import LatentPool


def _codes(first: int, count: int) -> Tensor:
    """Codes that say which one they are."""
    return torch.arange(first, first + count).float()[:, None].expand(-1, 4)


def test_a_filling_pool_returns_what_it_is_given() -> None:
    pool = LatentPool(5)
    given = _codes(0, 5)
    assert torch.equal(pool.query(given), given)
    assert len(pool) == 5


def test_a_full_pool_exchanges_about_half() -> None:
    pool = LatentPool(50, seed=3)
    pool.query(_codes(0, 50))
    returned = torch.cat([pool.query(_codes(start, 8)) for start in range(1000, 3000, 8)])[:, 0]
    new = torch.arange(1000, 3000)
    exchanged = (returned != new).sum().item()
    assert 900 < exchanged < 1100
    # An exchanged item is an older one, and none comes back twice.
    older = returned[returned != new]
    assert (older < new[returned != new]).all()
    assert len(set(returned.tolist())) == len(returned)


def test_one_row_of_every_code_is_taken() -> None:
    codes = (torch.arange(3)[:, None] * 100 + torch.arange(6)[None]).float()[:, :, None].expand(-1, -1, 4)
    seen = torch.cat([LatentPool(0, seed=seed).query(codes) for seed in range(40)])[:, 0].view(40, 3)
    assert torch.equal((seen // 100).long(), torch.arange(3).expand(40, 3))
    assert set((seen % 100).long().flatten().tolist()) == set(range(6))


def test_gradients_end_at_the_pool() -> None:
    codes = torch.randn(2, 4, requires_grad=True)
    assert not LatentPool(3).query(codes).requires_grad


def test_a_resumed_pool_goes_on_as_the_first_would() -> None:
    pool = LatentPool(4, seed=1)
    pool.query(_codes(0, 7))
    twin = LatentPool(4, seed=99)
    twin.load_state_dict(pool.state_dict())
    for start in range(10, 100, 3):
        assert torch.equal(pool.query(_codes(start, 3)), twin.query(_codes(start, 3)))


def test_an_empty_pool_can_be_stored_and_another_size_is_refused() -> None:
    twin = LatentPool(4)
    twin.load_state_dict(LatentPool(4, seed=5).state_dict())
    assert len(twin) == 0
    with pytest.raises(ValueError, match="holds 4 codes, this one 5"):
        LatentPool(5).load_state_dict(twin.state_dict())
