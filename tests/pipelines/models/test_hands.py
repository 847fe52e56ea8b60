"""Hands: both networks as TensorFlow Lite runs them, and the mask that is drawn from a hand's points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipelines.models.faces.hands import SIDE, HandFinder, _cut, _drawn
from pipelines.models.tflite import GraphNetwork
from pipelines.weights.formats.tflite import read_tflite
from pipelines.weights.store import WeightStore


@pytest.fixture(scope="module")
def photo(store: WeightStore) -> Tensor:
    """1 x 3 x 512 x 512 in [0, 1], of a person without hands in sight."""
    pixels = np.array(Image.open(store.path("sample-astronaut")).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.weights
def test_the_networks_are_those_of_tensorflow_lite(store: WeightStore, photo: Tensor) -> None:
    """Numbers of ai-edge-litert, on the same pixels."""
    golden = dict(np.load(Path(__file__).parent / "data/mediapipe.npz"))
    boxes, scores = GraphNetwork(read_tflite(store.path("palm-detection")))(photo[:, :, 14:206, 128:320])
    assert np.abs(scores[0, ::16, 0].numpy() - golden["palm_scores"]).max() < 2e-2, "before the sigmoid"
    assert np.abs(boxes[0, ::64].numpy() - golden["palm_boxes"]).max() < 2e-2, "pixels of 192"
    points, seen, *_ = GraphNetwork(read_tflite(store.path("hand-landmarks")))(photo[:, :, :224, 120:344])
    assert np.abs(points[0].numpy() - golden["hand_points"]).max() < 1e-1, "pixels of 224"
    assert abs(seen.item() - golden["hand_seen"].item()) < 1e-3


@pytest.mark.weights
def test_a_face_without_hands_has_none(store: WeightStore, photo: Tensor) -> None:
    finder = HandFinder(*(read_tflite(store.path(name)) for name in ("palm-detection", "hand-landmarks")))
    face = photo[:, :, 20:276, 96:352] * 2 - 1
    assert torch.equal(finder(torch.cat((face, face.flip(3)))), torch.zeros(2, 1, 256, 256))


def test_a_square_is_cut_where_its_axes_say() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    middle, whole = torch.tensor([[0.5, 0.5]]), torch.eye(2)[None]
    assert torch.allclose(_cut(image, middle, whole, 4), image, atol=1e-5)
    turned = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])  # the square's right is the picture's down
    assert torch.allclose(_cut(image, middle, turned, 4), image.rot90(1, (2, 3)), atol=1e-5)


def test_fingers_are_covered_and_what_lies_beside_them_is_not() -> None:
    points = torch.full((1, 21, 2), 0.8)
    points[0, 5:9] = torch.stack((torch.full((4,), 0.3), torch.linspace(0.6, 0.2, 4)), dim=1)  # one finger upright
    points[0, [9, 13, 17]] = torch.tensor([[0.36, 0.6], [0.42, 0.6], [0.48, 0.6]])
    mask = _drawn(points)
    at = [round(share * SIDE) for share in (0.3, 0.22, 0.15)]
    assert mask[0, 0, at[0], at[0]] == 1  # (0.3, 0.3): on it
    assert mask[0, 0, at[0], at[2]] == 0  # beside it
    assert mask.amin() >= 0
    assert mask.amax() <= 1
