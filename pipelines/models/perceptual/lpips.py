"""LPIPS, the learned perceptual distance (Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018), AlexNet v0.1.

`PerceptualDistance` is what all LPIPS variants share; `pipelines.models.perceptual.stlpips` is the shift-tolerant one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError

# The mean and spread of ImageNet pictures in [-1, 1], RGB, that all LPIPS trunks expect.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10
_ALEX_CONVS = (0, 3, 6, 8, 10)  # positions in torchvision's AlexNet.features


def unit(x: Tensor) -> Tensor:
    """x n x C x H x W with every pixel's vector scaled to length 1; a zero vector stays zero and has zero gradient."""
    # The addend keeps the root's gradient finite at zero; elsewhere it is below float32 resolution.
    result: Tensor = x / ((x.square().sum(dim=1, keepdim=True) + _EPS**2).sqrt() + _EPS)
    return result


class PerceptualDistance(nn.Module):
    """The part that all LPIPS variants share: input scaling, unit features, weighted squared differences.

    Frozen and in eval mode; gradients flow to the pictures. A subclass gives `trunk`.

    Args:
        heads: one weight vector per feature map (any shape; C values).
    """

    def __init__(self, heads: list[Tensor]) -> None:
        super().__init__()
        self.heads = nn.ParameterList([nn.Parameter(head.detach().clone().view(-1), False) for head in heads])
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def trunk(self, x: Tensor) -> list[Tensor]:
        """Scaled pictures n x 3 x H x W -> raw feature maps n x C x h x w, one per head."""
        raise TypeError(f"{type(self).__name__} defines no trunk")

    def features(self, x: Tensor) -> list[Tensor]:
        """x n x 3 x H x W, RGB, [-1, 1] -> unit-normalised feature maps, finest first. Keep those of a target."""
        scaled = (x - self.get_buffer("shift")) / self.get_buffer("scale")
        # Channels last: the CPU's pooling kernels are seven times as fast on it, convolutions no slower.
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        return [unit(feature) for feature in self.trunk(scaled)]

    def distance(self, fx: list[Tensor], fy: list[Tensor]) -> Tensor:
        """Two results of `features` -> n distances, 0 for equal pictures (Zhang et al. 2018, equation 1)."""
        total = fx[0].new_zeros(len(fx[0]))
        for x, y, head in zip(fx, fy, self.heads, strict=True):
            total = total + ((x - y).square().mean(dim=(2, 3)) * head).sum(dim=1)
        return total

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y n x 3 x H x W, RGB, [-1, 1], one size -> n distances, lower is more alike."""
        return self.distance(self.features(x), self.features(y))


class LPIPSAlex(PerceptualDistance):
    """LPIPS v0.1 on AlexNet (Krizhevsky 2014, torchvision's variant). Pictures of at least 31 px.

    Args:
        convs: weight and bias of the five convolutions.
        heads: the five weight vectors.
    """

    def __init__(self, convs: list[tuple[Tensor, Tensor]], heads: list[Tensor]) -> None:
        super().__init__(heads)
        self.convs = nn.ModuleList([frozen_conv(weight, bias) for weight, bias in convs])
        first = self.convs[0]
        assert isinstance(first, nn.Conv2d)
        first.stride, first.padding = (4, 4), (2, 2)
        self.eval().requires_grad_(False)

    def trunk(self, x: Tensor) -> list[Tensor]:
        made: list[Tensor] = []
        for index, conv in enumerate(self.convs):
            x = F.relu_(conv(F.max_pool2d(x, 3, 2) if index in (1, 2) else x))
            made.append(x)
        return made


def frozen_conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A stride-1 convolution with these tensors (out x in x k x k and out), padded by k // 2."""
    out, channels, side, _ = weight.shape
    conv = nn.Conv2d(channels, out, side, padding=side // 2)
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def shipped_heads() -> list[Tensor]:
    """The five weight vectors that the `lpips` package carries (v0.1, AlexNet). Downloads and prints nothing."""
    import lpips  # imports torchvision's models: only who measures LPIPS pays for it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision by argument names of an older release
        net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    return [layer.model[-1].weight.detach() for layer in net.lins]


def build_lpips(state: Mapping[str, Tensor]) -> LPIPSAlex:
    """LPIPS from torchvision's AlexNet checkpoint (keys ``features.0.weight`` ...); the classifier is not read.

    Raises:
        WeightsError: a tensor is missing, so this is another checkpoint.
    """
    try:
        convs = [(state[f"features.{i}.weight"], state[f"features.{i}.bias"]) for i in _ALEX_CONVS]
    except KeyError as error:
        raise WeightsError(f"the AlexNet checkpoint lacks {error}: it is another file") from None
    return LPIPSAlex(convs, shipped_heads())
