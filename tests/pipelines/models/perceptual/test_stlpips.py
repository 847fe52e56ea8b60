"""ST-LPIPS and LPIPS against the authors' own code, and what an optimiser needs from them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.errors import WeightsError
from pipelines.models.perceptual.lpips import build_lpips, shipped_heads, unit
from pipelines.models.perceptual.stlpips import STLPIPS, BlurredConv, blur_half, build_stlpips
from pipelines.weights.store import WeightStore
from tests.golden.make_stlpips import SIZES, filled, inputs

GOLDEN = Path(__file__).parents[3] / "golden" / "stlpips.npz"


@pytest.fixture(scope="module")
def alex() -> STLPIPS:
    return build_stlpips(filled("alex"), "alex")


def _check(net: STLPIPS, prefix: str, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    golden = np.load(GOLDEN)
    for size in sizes:
        want = golden[f"{prefix}.{size[0]}x{size[1]}"]
        assert want.min() > 1e-3  # so that the tolerance below means something
        np.testing.assert_allclose(net(*inputs(size)).numpy(), want, rtol=2e-5, atol=1e-6)


def test_alex_agrees_with_the_authors_code(alex: STLPIPS) -> None:
    _check(alex, "alex.filled")


def test_vgg_agrees_with_the_authors_code() -> None:
    _check(build_stlpips(filled("vgg"), "vgg"), "vgg.filled", SIZES[1:2])


@pytest.mark.weights
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_real_weights_agree_with_the_authors_code(store: WeightStore, net: str) -> None:
    _check(build_stlpips(store.tensors(f"st-lpips-{net}"), net), f"{net}.authors")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(20, 20), (21, 21), (20, 23), (23, 20)])
def test_blurred_conv_is_convolution_then_blur(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(4, 3, 5, 5), torch.randn(4), torch.randn(2, 3, *size)
    want = blur_half(F.conv2d(x, weight, bias, padding=1))
    torch.testing.assert_close(BlurredConv(weight, bias, padding=1)(x), want, rtol=1e-5, atol=1e-5)


def test_gradient_agrees_with_finite_differences() -> None:
    net = build_stlpips({key: value.double() for key, value in filled("alex").items()}).double()
    x, y = (picture[:1, :, :40, :40].double() for picture in inputs((64, 64)))
    torch.manual_seed(0)
    direction, step = torch.randn_like(x), 1e-6
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net(x, y).sum(), x)
    with torch.no_grad():
        slope = (net(x + step * direction, y) - net(x - step * direction, y)) / (2 * step)
    assert slope.abs() > 1e-4
    torch.testing.assert_close((gradient * direction).sum(), slope[0], rtol=1e-3, atol=0)


def test_equal_pictures_are_at_zero_with_finite_gradient(alex: STLPIPS) -> None:
    flat = torch.full((1, 3, 48, 48), 0.2, requires_grad=True)
    distance = alex(flat, flat.detach())
    distance.sum().backward()
    assert distance.item() == 0
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_target_features_can_be_kept_and_batches_do_not_mix(alex: STLPIPS) -> None:
    x, y = inputs((64, 64))
    kept = alex.features(y)
    together = alex.distance(alex.features(x), kept)
    alone = torch.cat([alex(x[i : i + 1], y[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(together, alex(y, x), rtol=1e-5, atol=1e-7)


def test_weights_are_frozen(alex: STLPIPS) -> None:
    assert not any(parameter.requires_grad for parameter in alex.parameters())


def test_unit_vectors() -> None:
    x = torch.zeros(1, 3, 1, 2, requires_grad=True)
    y = unit(x + torch.tensor([3.0, 0.0, 4.0]).view(1, 3, 1, 1) * torch.tensor([1.0, 0.0]))
    assert y[0, :, 0, 0].tolist() == pytest.approx([0.6, 0, 0.8])
    assert y[0, :, 0, 1].tolist() == [0, 0, 0]
    y.square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_another_checkpoint_is_refused(net: str) -> None:
    other = {"alex": "vgg", "vgg": "alex"}[net]
    with pytest.raises(WeightsError, match="lacks"):
        build_stlpips(filled(other), net)  # type: ignore[arg-type]


def test_lpips_agrees_with_the_lpips_package(capsys: pytest.CaptureFixture[str]) -> None:
    import lpips

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    # The package splits AlexNet's features into slices but keeps torchvision's numbers.
    trunk = {f"features.{key.split('.', 1)[1]}": value for key, value in reference.net.state_dict().items()}
    ours = build_lpips(trunk)
    x, y = inputs((96, 70))
    with torch.no_grad():
        want = reference(x, y).flatten()
    assert want.min() > 1e-4
    torch.testing.assert_close(ours(x, y), want, rtol=1e-4, atol=1e-7)
    assert capsys.readouterr().out == ""


def test_lpips_refuses_another_checkpoint() -> None:
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        build_lpips({"conv1.weight": torch.zeros(1)})


def test_shipped_heads_are_the_trained_ones() -> None:
    heads = shipped_heads()
    assert [head.numel() for head in heads] == [64, 192, 384, 256, 256]
    assert all(head.min() >= 0 for head in heads)  # trained under a non-negativity constraint; random ones are not
