"""dlib's descriptor and chips against dlib itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import WeightsError
from pipelines.images.pixels import decode, resize_u8, to_tensor
from pipelines.models.faces.chips import chip_matrix, extract_chips, five_points
from pipelines.models.faces.dlib_resnet import DlibResNet, load_dlib_resnet
from pipelines.types import U8Image
from pipelines.weights.formats.dlib_dat import read_dlib_resnet
from pipelines.weights.store import WeightStore

dlib = pytest.importorskip("dlib")


def _state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of the right shapes, as `read_dlib_resnet` names them."""
    torch.manual_seed(seed)
    state = {}
    for index, conv in enumerate(DlibResNet().convolutions()):
        fan_in = conv.weight[0].numel()
        state[f"con.{index}.weight"] = torch.randn_like(conv.weight) * (1 / fan_in) ** 0.5
        state[f"con.{index}.bias"] = torch.randn(len(conv.weight)) * 0.1
        state[f"affine.{index}.weight"] = torch.rand(len(conv.weight)) + 0.5
        state[f"affine.{index}.bias"] = torch.randn(len(conv.weight)) * 0.1
    return state | {"fc.weight": torch.randn(128, 256) / 16}


def _landmarks(seed: int, count: int = 68, centre: float = 128, spread: float = 40) -> np.ndarray:
    """Whole-number landmarks that resemble nothing: a fit is a fit."""
    return np.random.default_rng(seed).normal(centre, spread, (count, 2)).round()


def _shape(points: np.ndarray):  # type: ignore[no-untyped-def]
    parts = [dlib.point(int(x), int(y)) for x, y in points]
    return dlib.full_object_detection(dlib.rectangle(0, 0, 100, 100), parts)


@pytest.mark.parametrize(("count", "size", "padding"), [(68, 150, 0.25), (68, 64, 0.2), (5, 64, 0.2), (5, 32, 0.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chip_matrix_is_dlibs(count: int, size: int, padding: float, seed: int) -> None:
    points = _landmarks(seed, count)
    details = dlib.get_face_chip_details(_shape(points), size, padding)
    matrix = chip_matrix(torch.tensor(points)[None], size, padding)[0].numpy()
    corners = np.array([(0, 0, 1), (size - 1, 0, 1), (size - 1, size - 1, 1)]) @ matrix.T
    rect, (cos, sin) = details.rect, (np.cos(details.angle), np.sin(details.angle))
    middle = np.array((rect.left() + rect.right(), rect.top() + rect.bottom())) / 2
    half = (rect.right() - rect.left()) / 2
    want = [middle + half * np.array((cos * x - sin * y, sin * x + cos * y)) for x, y in ((-1, -1), (1, -1), (1, 1))]
    np.testing.assert_allclose(corners, want, atol=2e-3)


def test_chips_show_what_dlibs_show() -> None:
    y, x = np.mgrid[0:256, 0:256]
    picture = np.stack((x, y, 255 - x), axis=2).astype(np.uint8)
    points = _landmarks(3, spread=50)
    want = np.asarray(dlib.get_face_chip(picture, _shape(points), 150, 0.25), dtype=np.float32)
    chip = extract_chips(to_tensor([picture]), torch.tensor(points / 256)[None].float())
    ours = (chip[0].permute(1, 2, 0).numpy() + 1) * 127.5
    inside = (want.min(axis=2) > 0) & (ours.min(axis=2) > 1)
    assert inside.mean() > 0.5
    # dlib truncates to whole grey levels.
    assert np.abs(ours - 0.5 - want)[inside].max() < 0.6


def test_a_large_crop_is_shrunk_without_aliasing() -> None:
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    template = _upright_face()
    chip = extract_chips(to_tensor([stripes]), template)[0]
    assert chip.std() < 0.01  # a point-sampled chip would show full-contrast moire
    assert abs(chip.mean()) < 0.02


def _upright_face() -> torch.Tensor:
    """Landmarks (shares of the side) for which the fitted chip covers about the whole picture, upright."""
    from pipelines.models.faces.chips import _X_68, _Y_68, FIT_68

    points = torch.full((1, 68, 2), 0.5)
    points[0, list(FIT_68)] = torch.tensor((_X_68, _Y_68)).T * 0.6 + 0.2
    return points


def test_outside_of_the_picture_is_black() -> None:
    chip = extract_chips(torch.ones(1, 3, 64, 64), _upright_face() - 0.5)
    assert chip.min() == -1
    assert chip.max() == pytest.approx(1)


def test_chips_do_not_depend_on_the_batch_and_pass_gradients_on() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 400, 400, requires_grad=True)
    near, far = _upright_face() * 0.2 + 0.4, _upright_face()  # one is enlarged, the other shrunk first
    chips = extract_chips(pictures, torch.cat((near, far)))
    alone = torch.cat([extract_chips(pictures[i : i + 1], points) for i, points in enumerate((near, far))])
    torch.testing.assert_close(chips, alone, rtol=0, atol=1e-3)  # noise at full contrast: rounding of the grid shows
    chips.sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_wrong_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="68 x 2"):
        chip_matrix(torch.zeros(1, 7, 2))
    with pytest.raises(ValueError, match="2 pictures"):
        extract_chips(torch.zeros(2, 3, 8, 8), torch.zeros(1, 68, 2))
    assert five_points(torch.arange(136.0).view(1, 68, 2))[0, :, 0].tolist() == [90, 84, 72, 78, 66]


def test_folding_the_affine_layers_changes_nothing() -> None:
    state = _state()
    net = load_dlib_resnet(state)
    x = torch.rand(1, 3, 20, 20)
    plain = torch.nn.functional.conv2d(x, state["con.0.weight"], state["con.0.bias"], stride=2)
    want = plain * state["affine.0.weight"].view(1, -1, 1, 1) + state["affine.0.bias"].view(1, -1, 1, 1)
    torch.testing.assert_close(net.stem(x), want, rtol=1e-4, atol=1e-5)


def test_gradient_batch_and_freezing() -> None:
    net = load_dlib_resnet(_state())
    torch.manual_seed(1)
    chips = (torch.rand(2, 3, 150, 150) * 2 - 1).requires_grad_()
    descriptors = net(chips)
    assert descriptors.shape == (2, 128)
    torch.testing.assert_close(descriptors[1:], net(chips[1:]), rtol=1e-4, atol=1e-5)
    descriptors[0].square().sum().backward()
    assert chips.grad is not None
    assert chips.grad[0].abs().sum() > 0
    assert chips.grad[1].abs().sum() == 0
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_tensors_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="29 convolutions"):
        load_dlib_resnet({"fc.weight": torch.zeros(128, 256)})
    with pytest.raises(WeightsError, match="this file has"):
        load_dlib_resnet(_state() | {"con.3.weight": torch.zeros(32, 32, 1, 1)})


@pytest.fixture(scope="module")
def pair(store: WeightStore) -> tuple[DlibResNet, object]:
    path = store.path("id-dlib")
    return load_dlib_resnet(read_dlib_resnet(path)), dlib.face_recognition_model_v1(str(path))


@pytest.fixture(scope="module")
def predictor(store: WeightStore) -> object:
    return dlib.shape_predictor(str(store.path("landmarks-68")))


def _found(picture: U8Image, predictor):  # type: ignore[no-untyped-def]
    shape = predictor(picture, dlib.get_frontal_face_detector()(picture, 0)[0])
    return shape, np.array([(part.x, part.y) for part in shape.parts()], np.float32)


@pytest.mark.weights
@pytest.mark.parametrize("grain", [1, 10, 150])
def test_real_network_agrees_with_dlib_on_noise(pair, grain: int) -> None:  # type: ignore[no-untyped-def]
    net, reference = pair
    coarse = np.random.default_rng(grain).integers(0, 256, (150 // grain, 150 // grain, 3), dtype=np.uint8)
    chip = np.ascontiguousarray(coarse.repeat(grain, axis=0).repeat(grain, axis=1))
    want = np.array(reference.compute_face_descriptor(chip))
    assert np.linalg.norm(want) > 0.5
    np.testing.assert_allclose(net(to_tensor([chip]))[0].numpy(), want, atol=2e-6)


@pytest.mark.weights
@pytest.mark.parametrize("side", [0, 300])
def test_real_network_and_chips_agree_with_dlib_on_faces(store, pair, predictor, side: int) -> None:  # type: ignore[no-untyped-def]
    net, reference = pair
    descriptors = {}
    for name in ("sample-obama", "sample-obama2", "sample-biden"):
        picture = decode(Path(store.path(name)).read_bytes())
        if side:
            picture = resize_u8(picture, side, side * picture.shape[0] // picture.shape[1])
        shape, landmarks = _found(picture, predictor)
        chip = np.ascontiguousarray(dlib.get_face_chip(picture, shape, 150, 0.25))
        want = np.array(reference.compute_face_descriptor(chip))
        np.testing.assert_allclose(net(to_tensor([chip]))[0].numpy(), want, atol=1e-5)
        shares = torch.from_numpy(landmarks / (picture.shape[1], picture.shape[0])).float()[None]
        descriptors[name] = net(extract_chips(to_tensor([picture]), shares))[0].numpy()
        # dlib's own shrinking shifts a large picture by a fraction of a pixel; without shrinking it is the same chip.
        assert np.linalg.norm(descriptors[name] - want) < (0.02 if side else 0.1)
    same = np.linalg.norm(descriptors["sample-obama"] - descriptors["sample-obama2"])
    other = np.linalg.norm(descriptors["sample-obama"] - descriptors["sample-biden"])
    assert same < 0.6 < other
