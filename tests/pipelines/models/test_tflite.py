"""MediaPipe's networks in torch: as their own runtime computes them, on one photo; and the operations by themselves.

The golden arrays are outputs of mediapipe 0.10.21 (matte, every eighth pixel) and ai-edge-litert 2.3 (mesh) on the sample
`sample-astronaut`: every second pixel of it, and the 192 px from row 14 and column 128.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipelines.errors import WeightsError
from pipelines.models.faces.matte import PersonMatte
from pipelines.models.tflite import Graph, GraphNetwork, Node
from pipelines.weights.formats.tflite import read_tflite
from pipelines.weights.store import WeightStore

pytestmark = pytest.mark.filterwarnings("ignore:.*not writable")


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(np.load(Path(__file__).parent / "data/mediapipe.npz"))


@pytest.fixture(scope="module")
def photo(store: WeightStore) -> Tensor:
    """1 x 3 x 512 x 512 in [0, 1]."""
    pixels = np.array(Image.open(store.path("sample-astronaut")).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.weights
def test_the_person_matte_is_that_of_mediapipe(store: WeightStore, photo: Tensor, golden: dict[str, Any]) -> None:
    matte = PersonMatte(read_tflite(store.path("person-matte")))
    small = photo[:, :, ::2, ::2] * 2 - 1
    found = matte(small)
    assert found.shape == (1, 1, 256, 256)
    assert np.abs(found[0, 0, ::8, ::8].numpy() - golden["matte"]).max() < 2e-3
    pair = matte(torch.cat([small, small.flip(3)]))
    torch.testing.assert_close(pair[:1], found, atol=1e-4, rtol=0)
    large = matte(photo * 2 - 1)
    assert large.shape == (1, 1, 512, 512)
    assert (large[:, :, ::2, ::2] - found).abs().mean() < 0.02


@pytest.mark.weights
def test_the_face_mesh_is_that_of_tensorflow_lite(store: WeightStore, photo: Tensor, golden: dict[str, Any]) -> None:
    mesh, score = GraphNetwork(read_tflite(store.path("face-mesh")))(photo[:, :, 14:206, 128:320])
    assert np.abs(mesh.flatten().numpy() - golden["mesh"]).max() < 5e-3, "pixels of 192"
    assert abs(score.item() - golden["score"].item()) < 1e-2


@pytest.mark.weights
def test_damaged_files_are_graphs_or_weights_errors(store: WeightStore, tmp_path: Path) -> None:
    whole, path = store.path("person-matte").read_bytes(), tmp_path / "n.tflite"
    random = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        start = random.choice([0, len(data) - 40_000])  # the tables lie at both ends, numbers between
        for at in random.integers(start, start + 40_000, 20):
            data[at] = random.integers(256)
        path.write_bytes(data[: random.integers(8, len(data))] if random.random() < 0.3 else data)
        with contextlib.suppress(WeightsError):
            read_tflite(path)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 4 + b"TFL3", b"\xff" * 4 + b"TFL3" + b"\0" * 99, b"\x08\0\0\0TFL3" + b"\0" * 64]
)
def test_foreign_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "n.tflite").write_bytes(data)
    with pytest.raises(WeightsError, match=r"n\.tflite is not a TensorFlow Lite network"):
        read_tflite(tmp_path / "n.tflite")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tflite(tmp_path / "none.tflite")


# -- operations --------------------------------------------------------------------------------------------------------


def run(kind: str, images: Tensor, shape: tuple[int, ...], *constants: Tensor, **options: Any) -> Tensor:
    """One operation on n x C x H x W."""
    places = tuple(range(2, 2 + len(constants)))
    node = Node(kind, (0, *places), (1,), options)
    sides = (1, images.shape[2], images.shape[3], images.shape[1])
    known = dict(zip(places, constants, strict=True))
    graph = Graph((sides, shape, *(tuple(c.shape) for c in constants)), known, (node,), (0,), (1,))
    (found,) = GraphNetwork(graph)(images)
    return found


def test_same_padding_puts_the_odd_pixel_at_the_end() -> None:
    images = torch.arange(16.0).reshape(1, 1, 4, 4)
    kernel = torch.ones(1, 3, 3, 1)
    found = run("conv", images, (1, 2, 2, 1), kernel, same=True, stride=(2, 2))
    wanted = functional.conv2d(functional.pad(images, (0, 1, 0, 1)), torch.ones(1, 1, 3, 3), stride=2)
    assert torch.equal(found, wanted)
    largest = run("max_pool", -images - 1, (1, 2, 2, 1), same=True, stride=(2, 2), kernel=(3, 3))
    assert largest.max() == -1, "padding never wins"


def test_depthwise_and_transposed_convolutions_slopes_and_sums_are_by_channel() -> None:
    images = torch.randn(2, 3, 4, 4)
    depthwise = run("depthwise_conv", images, (1, 4, 4, 3), torch.tensor([[[[1.0, 2, 3]]]]), same=True, stride=(1, 1))
    assert torch.equal(depthwise, images * torch.tensor([1.0, 2, 3])[None, :, None, None])
    weight = torch.zeros(1, 2, 2, 3)
    weight[0, 1, 0, 0] = 1  # below, left
    grown = run("transposed_conv", images, (1, 8, 8, 1), weight, torch.zeros(1), same=True, stride=(2, 2))
    assert torch.equal(grown[:, 0, 1::2, ::2], images[:, 0])
    assert grown[:, 0, ::2].abs().max() == 0
    slopes = run("prelu", images, (1, 4, 4, 3), torch.tensor([[[0.0, 1, 1]]]))
    assert torch.equal(slopes, torch.cat([images[:, :1].relu(), images[:, 1:]], 1))
    assert torch.equal(run("add", images, (1, 4, 4, 3), torch.ones(3), activation="relu"), (images + 1).relu())


def test_pad_and_reshape_count_channels_last() -> None:
    images = torch.arange(8.0).reshape(1, 2, 2, 2)
    ends = torch.tensor([[0, 0], [1, 0], [0, 0], [0, 1]])
    padded = run("pad", images, (1, 3, 2, 3), ends)
    assert padded.shape == (1, 3, 3, 2)
    assert torch.equal(padded[:, :2, 1:], images)
    flat = run("reshape", images, (1, 8), torch.tensor([1, 8]))
    assert flat.tolist() == [[0, 4, 1, 5, 2, 6, 3, 7]]


def test_another_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="other operations"):
        run("while", torch.ones(1, 1, 1, 1), (1, 1, 1, 1))
