"""A picture of how a training stands: faces above, what the network makes of them below."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipelines.files import write_atomic
from pipelines.images.pixels import encode, resize_area, to_uint8


def write_samples(path: Path, *rows: Tensor) -> None:
    """Write a PNG grid: one row of pictures per tensor (each n x 3 x S x S in [-1, 1]; S may differ, the least counts)."""
    side = min(row.shape[-1] for row in rows)
    lines = [torch.cat(list(resize_area(row, side).clamp(-1, 1)), dim=2) for row in rows]
    grid = torch.cat(lines, dim=1)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode(to_uint8(grid)[0], "png"))
