"""dlib's face descriptor network (`dlib_face_recognition_resnet_model_v1`) as a differentiable torch module.

A residual network (He et al., CVPR 2016) with 29 convolutions, trained by Davis King with a metric loss on 3 million
faces: two pictures of one person lie within a Euclidean distance of 0.6. What differs from the usual ResNet are
dlib's conventions: no padding in strided layers, and sums of maps of different size, in which the smaller one counts
as padded with zeros at its end (channels, rows and columns).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError

CHIP = 150  # px
DESCRIPTOR = 128
_MEANS = (122.782, 117.001, 104.298)  # of the training pictures, RGB bytes
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))  # channels, blocks, halves


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; `halves`: stride 2 and an average-pooled shortcut."""

    def __init__(self, channels_in: int, channels: int, halves: bool) -> None:
        super().__init__()
        stride, padding = (2, 0) if halves else (1, 1)
        self.first = nn.Conv2d(channels_in, channels, 3, stride, padding)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu_(self.first(x)))
        return F.relu_(_add(y, F.avg_pool2d(x, 2) if self.halves else x))


def _add(x: Tensor, y: Tensor) -> Tensor:
    """Sum of two maps; missing channels, rows and columns of either count as zero."""
    if x.shape == y.shape:
        return x + y
    channels, height, width = (max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
    x, y = (F.pad(z, (0, width - z.shape[3], 0, height - z.shape[2], 0, channels - z.shape[1])) for z in (x, y))
    return x + y


class DlibResNet(nn.Module):
    """dlib's face descriptor. Frozen and in eval mode; gradients flow to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        blocks, channels_in = [], 32
        for channels, count, halves in _STAGES:
            for index in range(count):
                blocks.append(_Block(channels_in, channels, halves and index == 0))
                channels_in = channels
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(channels_in, DESCRIPTOR, bias=False)
        self.register_buffer("means", torch.tensor(_MEANS).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, chips: Tensor) -> Tensor:
        """Face chips -> descriptors.

        Args:
            chips: n x 3 x 150 x 150, RGB, [-1, 1], cut with `extract_chips(..., size=150, padding=0.25)`.

        Returns:
            n x 128, not normalised (length about 1.3); distances below 0.6 mean one person.
        """
        means: Tensor = self.means  # type: ignore[assignment]
        x = ((chips + 1) * 127.5 - means) / 256
        x = F.max_pool2d(F.relu_(self.stem(x)), 3, 2)
        descriptors: Tensor = self.head(self.body(x).mean(dim=(2, 3)))
        return descriptors

    def convolutions(self) -> list[nn.Conv2d]:
        """All 29, in the order in which a picture meets them."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


def load_dlib_resnet(state: Mapping[str, Tensor]) -> DlibResNet:
    """The network with the tensors that `read_dlib_resnet` names.

    Raises:
        WeightsError: the tensors belong to another network.
    """
    net = DlibResNet()
    convolutions = net.convolutions()
    if len(state) != 4 * len(convolutions) + 1:
        raise WeightsError(
            f"a dlib face descriptor has 29 convolutions, this file has other layers ({len(state)} tensors)"
        )
    with torch.no_grad():
        for index, conv in enumerate(convolutions):
            # The affine layer behind a convolution is its trained batch norm: fold it in, exact and one pass less.
            gamma, beta = state[f"affine.{index}.weight"], state[f"affine.{index}.bias"]
            bias = conv.bias
            assert bias is not None
            _copy(conv.weight, state[f"con.{index}.weight"] * gamma.view(-1, 1, 1, 1))
            _copy(bias, state[f"con.{index}.bias"] * gamma + beta)
        _copy(net.head.weight, state["fc.weight"])
    return net


def _copy(into: Tensor, values: Tensor) -> None:
    if into.shape != values.shape:
        raise WeightsError(f"a dlib face descriptor layer is {tuple(into.shape)}, this file has {tuple(values.shape)}")
    into.copy_(values)
