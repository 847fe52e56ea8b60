"""ST-LPIPS: the shift-tolerant perceptual distance of Ghildyal and Liu (ECCV 2022), AlexNet and VGG-16 variants.

It is LPIPS (Zhang et al., CVPR 2018) on trunks whose every subsampling is a stride-1 operation followed by a blurred
subsampling (Zhang, ICML 2019) with reflection padding, so that a picture moved by a pixel or two stays close.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError

# The mean and spread of ImageNet pictures in [-1, 1], RGB, that all LPIPS trunks expect.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10

# Per network: the checkpoint keys of its convolutions, one group per feature map.
_CONVS: dict[str, tuple[tuple[str, ...], ...]] = {
    "alex": (("slice1.0",), ("slice2.5",), ("slice3.9",), ("slice4.11",), ("slice5.13",)),
    "vgg": (
        ("slice1.0", "slice1.2"),
        ("slice2.6", "slice2.8"),
        ("slice3.12", "slice3.14", "slice3.16"),
        ("slice4.20", "slice4.22", "slice4.24"),
        ("slice5.28", "slice5.30", "slice5.32"),
    ),
}


def unit(x: Tensor) -> Tensor:
    """x n x C x H x W with every pixel's vector scaled to length 1; a zero vector stays zero and has zero gradient."""
    # The tiny addend keeps the root's gradient finite at zero; it is below float32 resolution elsewhere.
    result: Tensor = x / ((x.square().sum(dim=1, keepdim=True) + _EPS**2).sqrt() + _EPS)
    return result


def blur_half(x: Tensor) -> Tensor:
    """Blurred subsampling by 2: binomial 1-2-1 filter, reflected by 2 px. n x C x H x W -> n x C x h x w, h = H//2 + 1."""
    channels, height, width = x.shape[1:]
    # With its outer 2 px reflected, position i looks at 2i-2, 2i-1, 2i: as two strided sums this needs no convolution.
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    rows, columns = height // 2 + 1, width // 2 + 1
    x = x[..., 0 : 2 * rows : 2, :] + 2 * x[..., 1 : 2 * rows : 2, :] + x[..., 2 : 2 * rows + 1 : 2, :]
    x = x[..., 0 : 2 * columns : 2] + 2 * x[..., 1 : 2 * columns : 2] + x[..., 2 : 2 * columns + 1 : 2]
    return x / 16


class PerceptualDistance(nn.Module):
    """The part that all LPIPS variants share: input scaling, unit features, weighted squared differences.

    Frozen and in eval mode; gradients flow to the pictures.

    Args:
        heads: one non-negative weight vector per feature map.
    """

    def __init__(self, heads: list[Tensor]) -> None:
        super().__init__()
        self.heads = nn.ParameterList([nn.Parameter(head.detach().clone().view(-1), False) for head in heads])
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def trunk(self, x: Tensor) -> list[Tensor]:
        """Scaled pictures -> raw feature maps, one per head."""
        raise TypeError(f"{type(self).__name__} has no trunk")

    def features(self, x: Tensor) -> list[Tensor]:
        """x n x 3 x H x W, RGB, [-1, 1] -> unit-normalised feature maps, finest first. Keep those of a target."""
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        return [unit(feature) for feature in self.trunk((x - shift) / scale)]

    def distance(self, fx: list[Tensor], fy: list[Tensor]) -> Tensor:
        """Two results of `features` -> n distances, 0 for equal pictures (Zhang et al. 2018, equation 1)."""
        total = fx[0].new_zeros(len(fx[0]))
        for x, y, head in zip(fx, fy, self.heads, strict=True):
            total = total + torch.einsum("nchw,c->n", (x - y).square(), head) / (x.shape[2] * x.shape[3])
        return total

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y n x 3 x H x W, RGB, [-1, 1], one size -> n distances, lower is more alike."""
        return self.distance(self.features(x), self.features(y))


class STLPIPS(PerceptualDistance):
    """Shift-tolerant LPIPS. See `PerceptualDistance` for its methods.

    Args:
        net: trunk, ``"alex"`` (needs pictures of at least 24 px) or ``"vgg"`` (at least 32 px).
        groups: the trunk's convolutions (weight, bias), one group per feature map, finest first.
        heads: one non-negative weight vector per feature map.
    """

    def __init__(
        self, net: Literal["alex", "vgg"], groups: list[list[tuple[Tensor, Tensor]]], heads: list[Tensor]
    ) -> None:
        super().__init__(heads)
        self.net = net
        self.groups = nn.ModuleList([nn.ModuleList([_conv(*pair) for pair in group]) for group in groups])
        self.eval().requires_grad_(False)

    def trunk(self, x: Tensor) -> list[Tensor]:
        return self._alex(x) if self.net == "alex" else self._vgg(x)

    def _alex(self, x: Tensor) -> list[Tensor]:
        convs = [group[0] for group in self.groups]  # type: ignore[index]
        # The first convolution has stride 1 and is blurred before its ReLU; its padding is 2 although it is 11 wide.
        made = [F.relu(blur_half(F.conv2d(x, convs[0].weight, convs[0].bias, padding=2)))]
        for index, conv in enumerate(convs[1:], start=1):
            last = made[-1]
            if index <= 2:
                last = blur_half(F.max_pool2d(last, 3, 1))
            made.append(F.relu_(conv(last)))
        return made

    def _vgg(self, x: Tensor) -> list[Tensor]:
        made: list[Tensor] = []
        for index, group in enumerate(self.groups):
            if index:
                x = blur_half(F.max_pool2d(x, 2, 1))
            for conv in group:  # type: ignore[attr-defined]
                x = F.relu_(conv(x))
            made.append(x)
        return made


def _conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    out, channels, side, _ = weight.shape
    conv = nn.Conv2d(channels, out, side, padding=side // 2)
    with torch.no_grad():
        conv.weight.copy_(weight)
        if conv.bias is not None:
            conv.bias.copy_(bias)
    return conv


def build_stlpips(state: Mapping[str, Tensor], net: Literal["alex", "vgg"] = "alex") -> STLPIPS:
    """The network from the tensors of the authors' checkpoint (``alex_shift_tolerant.pth``, ``vgg_...``).

    Raises:
        WeightsError: a tensor is missing, so this is another checkpoint.
    """
    try:
        groups = [[(state[f"net.{k}.weight"], state[f"net.{k}.bias"]) for k in group] for group in _CONVS[net]]
        heads = [state[f"lin{index}.model.1.weight"] for index in range(len(groups))]
    except KeyError as error:
        raise WeightsError(f"the ST-LPIPS {net} checkpoint lacks {error}: it is another file") from None
    return STLPIPS(net, groups, heads)
