from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.images.pixels import resize_area, to_tensor
from tests.pipelines.metrics.fakes import black, faces, locate, picture


def test_pixels_are_shrunk_from_the_full_size_without_rounding() -> None:
    image = picture(0, 1024)
    made = faces([image])
    torch.testing.assert_close(made.pixels, resize_area(to_tensor([image]), 256))
    assert made.images[0].shape == (512, 512, 3)


def test_a_small_picture_keeps_its_pixels_for_landmarks() -> None:
    image = picture(0, 200)
    made = faces([image])
    assert made.pixels.shape == (1, 3, 256, 256)
    np.testing.assert_array_equal(made.images[0], image)


def test_landmarks_are_searched_once_and_only_when_asked_for() -> None:
    calls = []

    def counted(image: np.ndarray) -> np.ndarray:
        calls.append(1)
        return locate(image)

    made = faces([picture(0), picture(1)], find=counted)
    assert not calls
    assert made.landmarks.shape == (2, 68, 2)
    assert made.landmarks is made.landmarks
    assert len(calls) == 2


def test_a_result_without_a_face_borrows_its_own_sources_landmarks() -> None:
    source = faces([picture(0), picture(1), black()])
    result = faces([picture(2), black(), black()], source)
    assert result.faceless == 0, "nobody has asked for landmarks yet"
    np.testing.assert_array_equal(result.landmarks[0], locate(picture(2)))
    np.testing.assert_array_equal(result.landmarks[1], source.landmarks[1])
    assert np.isnan(result.landmarks[2]).all()
    assert result.faceless == 1


def test_memo_computes_once() -> None:
    made, calls = faces([picture(0)]), []
    assert [made.memo("x", lambda: calls.append(1) or len(calls)) for _ in range(3)] == [1, 1, 1]


def test_landmarks_are_float32_shares() -> None:
    made = faces([picture(0)], faces([picture(1)]))
    assert made.landmarks.dtype == np.float32
    assert 0 < made.landmarks.min() < made.landmarks.max() < 1
    assert made.landmarks[0].mean() == pytest.approx(0.5, abs=0.02)
