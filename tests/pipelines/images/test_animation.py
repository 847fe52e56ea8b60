"""Animated sweeps, read again by Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from pipelines.images.animation import SIDE, check_film, sweep


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


def test_mp4_plays_the_same_pictures() -> None:
    av = pytest.importorskip("av", reason="MP4 needs the extra 'video'")
    frames = [np.full((65, 63, 3), level, np.uint8) for level in (40, 120, 200)]
    data = sweep(frames, "mp4")
    with av.open(io.BytesIO(data)) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    levels = [float(frame[8:56, 8:56].mean()) for frame in shown]
    assert shown[0].shape == (66, 64, 3), "even sides"
    assert levels[:26] == pytest.approx([40] * 10 + [120] * 3 + [200] * 10 + [120] * 3, abs=4)
    assert len(levels) == 3 * 26


def test_missing_writer_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_film("webp")
    with pytest.raises(UsageError, match=r"ganinv\[video\]"):
        check_film("mp4")
