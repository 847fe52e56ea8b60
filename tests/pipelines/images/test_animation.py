"""Animated sweeps, read again by Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.images.animation import SIDE, sweep


def test_frames_play_forth_and_back() -> None:
    frames = [np.full((64, 64, 3), level, np.uint8) for level in (20, 120, 220)]
    shown = Image.open(io.BytesIO(sweep(frames)))
    levels = []
    for index in range(shown.n_frames):  # type: ignore[attr-defined]
        shown.seek(index)
        levels.append(int(np.asarray(shown.convert("RGB")).mean()))
    assert levels == pytest.approx([20, 120, 220, 120], abs=3)
    assert (shown.info["loop"], shown.size) == (0, (64, 64))


def test_large_pictures_are_shrunk_and_other_sizes_refused() -> None:
    assert Image.open(io.BytesIO(sweep([np.zeros((1024, 1024, 3), np.uint8)]))).size == (SIDE, SIDE)
    with pytest.raises(ValueError, match="one size"):
        sweep([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(ValueError, match="one or more"):
        sweep([])
