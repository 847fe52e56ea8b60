from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.images.pixels import decode
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.faces.years import SIDE, YEARS_ASSET, Years, face_square, load_years
from pipelines.weights.store import WeightStore


def test_the_network_halves_its_side_to_seven() -> None:
    network, seen = Years(), []
    network.last.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    assert network(torch.rand(2, 3, SIDE, SIDE) * 255).shape == (2,)
    assert seen == [(2, 256, 7, 7)]


def test_the_square_lies_around_the_landmarks() -> None:
    """A bright disk among 68 points keeps its place and its size, whatever the picture's."""
    for size in (128, 448):
        down, across = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        near = (down + 0.5 - 0.6 * size).square() + (across + 0.5 - 0.4 * size).square() < (0.15 * size) ** 2
        image = (near.float() * 2 - 1).expand(1, 3, size, size)
        angles = torch.linspace(0, 2 * np.pi, 68)
        points = torch.stack((0.4 + 0.15 * angles.cos(), 0.6 + 0.15 * angles.sin()), 1) * size
        square = face_square(image, points)
        assert square.shape == (1, 3, SIDE, SIDE)
        share = float(square.mean()) / 255
        assert share == pytest.approx(np.pi / 4 / 1.2**2, abs=0.02)
        assert float((square - square.flip(3)).abs().mean()) < 6


@pytest.mark.weights
def test_real_faces(store: WeightStore) -> None:
    network, finder = load_years(store.tensors(YEARS_ASSET)), DlibFinder(store.path("landmarks-68"))
    pictures = [decode(store.path(name).read_bytes()) for name in ("sample-obama", "sample-biden", "sample-astronaut")]
    marks = [finder.find(picture)[0].landmarks for picture in pictures]
    obama, biden, astronaut = network.measure(pictures, marks).tolist()
    assert 40 < obama < 65
    assert 55 < biden < 85
    assert 22 < astronaut < 45
