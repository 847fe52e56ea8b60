"""Grain of stretched skin is the photo's: as large as there, not drawn into streaks."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose.filters import blur, enlarge, pixel_grid, warp
from pipelines.stages.compose.stretch import GRAIN, stretched, with_own_grain
from pipelines.stages.compose.window import Window, window_of

WHOLE = Window(0, 0, 256, 256, 4)


def widened(times: float) -> Tensor:
    """1 x 2 x 256 x 256: a flow that draws a photo so many times as wide around its middle."""
    grid = pixel_grid(256, 256, torch.zeros(1))
    flow = torch.zeros(1, 2, 256, 256)
    flow[:, :1] = (grid[:, :1] - 127.5) * (1 / times - 1)
    return flow


def turned(angle: float) -> Tensor:
    grid = pixel_grid(256, 256, torch.zeros(1)) - 127.5
    a = torch.tensor(angle)
    x, y = grid.split(1, dim=1)
    return torch.cat((a.cos() * x - a.sin() * y, a.sin() * x + a.cos() * y), dim=1) - grid


def noise() -> Tensor:
    """A photo of skin: even, with grain a pixel or two in size."""
    made = torch.randn(1, 1, 1024, 1024, generator=torch.Generator().manual_seed(0))
    return (blur(made, 1.0) * 0.1).expand(1, 3, -1, -1).contiguous()


def neighbours(x: Tensor, along: int) -> float:
    """Correlation of the grain with itself 3 pixels on, along a dimension."""
    fine = (x - blur(x, GRAIN))[0, 0, 300:700, 300:700]
    return float((fine * fine.roll(3, along)).mean() / fine.square().mean())


def size(x: Tensor) -> float:
    """Of the finest grain, to which what is coarse and was stretched adds nothing."""
    return float((x - blur(x, GRAIN / 4))[..., 300:700, 300:700].square().mean().sqrt())


def test_what_is_drawn_wide_is_found_in_any_direction() -> None:
    for flow in (widened(2.2), widened(2.2).transpose(2, 3).flip(1)):
        assert float(stretched(flow)[..., 8:-8, 8:-8].min()) > 0.99
    for flow in (widened(1.0), widened(1.3), widened(0.5), turned(0.4), widened(1.0) + 7):
        assert float(stretched(flow)[..., 8:-8, 8:-8].max()) < 0.01


def test_stretched_grain_streaks_and_its_own_does_not() -> None:
    photo, flow = noise(), widened(2.5)
    moved = warp(photo, enlarge(flow, 4) * 4, mode="bicubic")
    made = with_own_grain(moved, photo, flow, torch.ones(1, 1, 256, 256), WHOLE)
    own = neighbours(photo, 1)
    assert neighbours(moved, 1) > own + 0.3
    assert abs(neighbours(made, 1) - own) < 0.1
    assert abs(neighbours(made, 0) - neighbours(photo, 0)) < 0.1
    assert 0.9 < size(made) / size(photo) < 1.1


def test_nothing_changes_elsewhere_and_contours_stay() -> None:
    photo, flow, where = noise(), widened(2.0), torch.zeros(1, 1, 256, 256)
    moved = warp(photo, enlarge(flow, 4) * 4, mode="bicubic")
    assert with_own_grain(moved, photo, flow, where, WHOLE) is moved
    where[..., 100:150, 90:120] = 1
    made = with_own_grain(moved, photo, flow, where, WHOLE)
    changed = (made != moved).any(dim=1)[0]
    assert changed[440:560, 380:460].float().mean() > 0.99
    changed[388:612, 348:492] = False
    assert not changed.any()
    edge = torch.zeros_like(photo)
    edge[..., 512:] = 1.0
    moved = warp(edge, enlarge(flow, 4) * 4, mode="bicubic")
    made = with_own_grain(moved, edge, flow, torch.ones(1, 1, 256, 256), WHOLE)
    assert float((made - moved)[..., 500:524].abs().max()) < 0.02


def test_a_part_of_a_window_is_made_as_the_whole_is() -> None:
    photo, flow, where = noise(), widened(2.0), torch.zeros(1, 1, 256, 256)
    where[..., 100:150, 90:120] = 1
    window = window_of(where, 4, margin=20)
    grown = enlarge(flow, 4) * 4
    whole = with_own_grain(warp(photo, grown, mode="bicubic"), photo, flow, where, WHOLE)
    part = with_own_grain(
        warp(photo, window.grown(flow) * 4, window.corner, mode="bicubic"), photo, flow, where, window
    )
    assert torch.allclose(part, window.cut(whole), atol=2e-3)
