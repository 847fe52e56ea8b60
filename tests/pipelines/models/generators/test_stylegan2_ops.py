"""Filters and demodulation against their definitions, written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.stylegan2_layers import EqualLinear, ModulatedConv
from pipelines.models.generators.stylegan2_ops import blur, demodulation, scale_channels, upsample


def _zero_stuffed(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    out = x.new_zeros(n, c, 2 * h, 2 * w)
    out[:, :, ::2, ::2] = x
    return out


def _kernel(channels: int) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    return (taps[:, None] * taps[None]).expand(channels, 1, 4, 4)


def test_upsample_is_zero_stuffing_and_filter() -> None:
    x = torch.randn(2, 3, 5, 6)
    expected = F.conv2d(F.pad(_zero_stuffed(x), (2, 1, 2, 1)), _kernel(3), groups=3)
    assert torch.allclose(upsample(x), expected, atol=1e-6)
    assert torch.allclose(upsample(torch.ones(1, 3, 4, 4))[:, :, 1:-1, 1:-1], torch.ones(1, 3, 6, 6))


def test_blur_has_gain_four_and_adds_its_bias() -> None:
    x, bias = torch.randn(2, 5, 9, 9), torch.randn(5)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1)), _kernel(5), groups=5) + bias[:, None, None]
    assert blur(x, bias).shape == (2, 5, 8, 8)
    assert torch.allclose(blur(x, bias), expected, atol=1e-5)


def _modulated_by_definition(layer: ModulatedConv, x: Tensor, style: Tensor, bias: Tensor) -> Tensor:
    """Karras et al. 2020, section 2.2, one picture and one kernel at a time; up-sampling by zero-stuffing."""
    made = []
    for picture, factors in zip(x, style, strict=True):
        kernel = layer.weight[0] * layer.factor * factors[None, :, None, None]
        kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if layer.up:
            whole = F.conv2d(F.pad(_zero_stuffed(picture[None]), (2, 2, 2, 2)), kernel.flip(2, 3))[:, :, :-1, :-1]
            out = F.conv2d(F.pad(whole, (1, 1, 1, 1)), _kernel(len(bias)), groups=len(bias))
        else:
            out = F.conv2d(picture[None], kernel, padding=1)
        made.append((out + bias[:, None, None]) * 2**0.5)
    return torch.cat(made)


def test_modulated_convolution_in_both_ways_is_the_definition() -> None:
    torch.manual_seed(0)
    for up in (False, True):
        layer = ModulatedConv(6, 4, 3, 8, up)
        x, style, bias = torch.randn(3, 6, 7, 7), torch.randn(3, 6), torch.randn(4)
        expected = _modulated_by_definition(layer, x, style, bias)
        layer.mode = "activations"
        assert torch.allclose(layer(x, style, bias), expected, atol=1e-5)
        layer.mode = "weights"
        alone = torch.cat([layer(x[i : i + 1], style[i : i + 1], bias) for i in range(3)])
        assert torch.allclose(alone, expected, atol=1e-5)


def test_one_picture_on_a_cpu_takes_the_kernel_only_where_it_pays() -> None:
    layer = ModulatedConv(8, 8, 3, 8)
    assert layer._on_weights(torch.zeros(1, 8, 16, 16))
    assert not layer._on_weights(torch.zeros(1, 8, 4, 4))
    assert not layer._on_weights(torch.zeros(2, 8, 16, 16))


def test_demodulation_reads_both_memory_orders() -> None:
    torch.manual_seed(0)
    style = torch.randn(2, 6)
    for up in (False, True):
        kernel = ModulatedConv(6, 4, 3, 8, up).kernel()
        assert (kernel.stride(0) == 1) == up  # the order is the convolution's; the numbers are the same
        norms = (kernel * style[:, None, :, None, None]).flatten(2).norm(dim=2)
        assert torch.allclose(demodulation(kernel, style), 1 / norms, rtol=1e-5)


def test_scaling_is_in_place_only_without_gradients() -> None:
    x, factors = torch.ones(1, 2, 3, 3), torch.tensor([[2.0, 3.0]])
    assert scale_channels(x, factors).data_ptr() == x.data_ptr()
    assert x[0, 1].unique() == 3
    leaf = torch.ones(1, 2, 3, 3, requires_grad=True)
    scale_channels(leaf, factors).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0, 0].unique() == 2


def test_equalised_rate() -> None:
    layer = EqualLinear(16, 5, rate=0.01, bias=2.0, active=True)
    x = torch.randn(3, 16)
    expected = F.leaky_relu(x @ layer.weight.T * (0.01 / 4) + 0.02, 0.2) * 2**0.5
    assert torch.allclose(layer(x), expected, atol=1e-6)
