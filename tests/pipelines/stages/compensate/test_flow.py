"""Residuals follow what an edit moves: shifts are found, stillness stays exactly still."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.stages.compensate.flow import _costs, feature_flow, warp
from pipelines.stages.compensate.residual import transport


def scene(seed: int = 0) -> Tensor:
    """A feature with structure at several sizes, n x 16 x 64 x 64."""
    rng = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.randn(1, 16, 16, 16, generator=rng), (64, 64), mode="bicubic")
    return 2 * coarse + 0.3 * torch.randn(1, 16, 64, 64, generator=rng)


def test_no_edit_means_no_motion_at_all() -> None:
    base = scene()
    flow = feature_flow(base, base)
    assert torch.equal(flow, torch.zeros_like(flow))
    assert torch.equal(transport(base, base, base), base)


def test_a_shift_is_found_and_the_residual_goes_along() -> None:
    base, residual = scene(), scene(1)
    shifted = torch.roll(base, (2, -3), dims=(2, 3))  # two down, three to the left
    flow = feature_flow(base, shifted)
    inner = (slice(None), slice(None), slice(12, 52), slice(12, 52))
    assert abs(float(flow[:, 0][inner[:1] + inner[2:]].mean()) - 3) < 0.3
    assert abs(float(flow[:, 1][inner[:1] + inner[2:]].mean()) + 2) < 0.3
    wanted = torch.roll(residual, (2, -3), dims=(2, 3))
    moved = (warp(residual, flow)[inner] - wanted[inner]).square().mean()
    left = (residual[inner] - wanted[inner]).square().mean()
    assert moved < 0.2 * left


def test_motion_stays_local() -> None:
    base = scene()
    edited = base.clone()
    edited[:, :, 40:56, 24:40] = torch.roll(base, 2, dims=2)[:, :, 40:56, 24:40]
    flow = feature_flow(base, edited)
    assert flow[:, :, :28].abs().max() < 0.05
    assert flow[:, 1, 46:50, 30:34].mean() < -1.0


def test_zero_flow_is_the_identity_bit_for_bit() -> None:
    x = scene()
    assert torch.equal(warp(x, torch.zeros(1, 2, 64, 64)), x)


def test_matching_costs_are_those_of_a_difference_per_shift() -> None:
    base, edited, radius = (
        scene()[:, :, :, :48],
        scene(2)[:, :, :, :48],
        2,
    )  # not square, so that axes cannot be swapped
    costs = _costs(base, edited, radius)
    padded = F.pad(base, (radius,) * 4, mode="replicate")
    for place, (dy, dx) in enumerate((dy, dx) for dy in range(5) for dx in range(5)):
        wanted = (edited - padded[:, :, dy : dy + 64, dx : dx + 48]).square().mean(dim=1)
        assert torch.allclose(costs[:, place], wanted, atol=1e-4)


def test_a_batch_moves_as_its_faces_alone() -> None:
    base, edited = torch.cat([scene(0), scene(1)]), torch.cat([scene(1), scene(0)])
    both = feature_flow(base, edited)
    assert torch.allclose(both[:1], feature_flow(base[:1], edited[:1]), atol=1e-5)
    assert torch.allclose(both[1:], feature_flow(base[1:], edited[1:]), atol=1e-5)
