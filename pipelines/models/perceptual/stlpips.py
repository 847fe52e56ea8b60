"""ST-LPIPS: the shift-tolerant perceptual distance of Ghildyal and Liu (ECCV 2022), AlexNet and VGG-16 variants.

It is LPIPS (Zhang et al., CVPR 2018) on trunks whose every subsampling is a stride-1 operation followed by a blurred
subsampling (Zhang, ICML 2019) with reflection padding, so that a picture moved by a pixel or two stays close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.perceptual.lpips import PerceptualDistance, frozen_conv

Trunk = Literal["alex", "vgg"]
ConvGroups = Sequence[Sequence[tuple[Tensor, Tensor]]]

# Per trunk: the checkpoint keys of its convolutions, one group per feature map.
_CONVS: dict[Trunk, tuple[tuple[str, ...], ...]] = {
    "alex": (("slice1.0",), ("slice2.5",), ("slice3.9",), ("slice4.11",), ("slice5.13",)),
    "vgg": (
        ("slice1.0", "slice1.2"),
        ("slice2.6", "slice2.8"),
        ("slice3.12", "slice3.14", "slice3.16"),
        ("slice4.20", "slice4.22", "slice4.24"),
        ("slice5.28", "slice5.30", "slice5.32"),
    ),
}
_POOL: dict[Trunk, dict[int, int]] = {
    "alex": {1: 3, 2: 3},
    "vgg": {1: 2, 2: 2, 3: 2, 4: 2},
}  # group -> window before it
_BINOMIAL = (0.25, 0.5, 0.25)
_PAIR = (0.5, 0.5)


def blur_half(x: Tensor) -> Tensor:
    """Blurred subsampling by 2 (1-2-1 filter, reflected by 2 px): n x C x H x W -> n x C x h x w, h = ceil(H/2) + 1."""
    taps = x.new_tensor(_BINOMIAL)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class BlurredConv(nn.Module):
    """A stride-1 convolution followed by `blur_half`, as one strided convolution with the blurred kernel.

    On the 11 x 11 first layer of AlexNet that is a third of the work of the two steps. The reflected border needs
    care: the first output row reads rows 2, 1, 0, which is the second row again since the filter is symmetric. At the
    far end an odd side repeats the last row likewise; an even one has a row of its own, the mean of the last two.

    Args:
        weight: out x in x k x k.
        bias: out.
        padding: zeros around the input, in pixels.
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        super().__init__()
        self.padding, self.side = padding, weight.shape[-1]
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        for name, rows, columns in (
            ("body", _BINOMIAL, _BINOMIAL),
            ("bottom", _PAIR, _BINOMIAL),
            ("right", _BINOMIAL, _PAIR),
            ("corner", _PAIR, _PAIR),
        ):
            self.register_parameter(name, nn.Parameter(_blurred(weight.detach(), rows, columns), requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        """n x in x H x W -> n x out x h x w."""
        x = F.pad(x, (self.padding,) * 4)
        made = self._rows(x, "body", "bottom", column_stride=2)
        edge = x[..., -(self.side + 1) :]
        even = (x.shape[3] - self.side + 1) % 2 == 0
        last = self._rows(edge, "right", "corner", column_stride=1) if even else made[..., -1:]
        return torch.cat((made[..., :1], made, last), dim=3)

    def _rows(self, x: Tensor, body: str, bottom: str, column_stride: int) -> Tensor:
        made = F.conv2d(x, getattr(self, body), self.bias, stride=(2, column_stride))
        edge = x[:, :, -(self.side + 1) :]
        even = (x.shape[2] - self.side + 1) % 2 == 0
        last = F.conv2d(edge, getattr(self, bottom), self.bias, (1, column_stride)) if even else made[:, :, -1:]
        return torch.cat((made[:, :, :1], made, last), dim=2)


def _blurred(weight: Tensor, rows: Iterable[float], columns: Iterable[float]) -> Tensor:
    """The kernel of `weight` followed by a separable filter: full correlation, side k + taps - 1."""
    kernel = torch.outer(weight.new_tensor(tuple(rows)), weight.new_tensor(tuple(columns)))
    full = F.conv2d(weight.flatten(0, 1).unsqueeze(1), kernel.flip(0, 1)[None, None], padding=_tails(kernel))
    result: Tensor = full.unflatten(0, weight.shape[:2]).squeeze(2)
    return result


def _tails(kernel: Tensor) -> tuple[int, int]:
    return kernel.shape[0] - 1, kernel.shape[1] - 1


class STLPIPS(PerceptualDistance):
    """Shift-tolerant LPIPS. See `PerceptualDistance` for its methods.

    Args:
        trunk: ``"alex"`` (pictures of at least 24 px) or ``"vgg"`` (at least 32 px).
        groups: the trunk's convolutions (weight, bias), one group per feature map, finest first.
        heads: one weight vector per feature map.
    """

    def __init__(self, trunk: Trunk, groups: ConvGroups, heads: list[Tensor]) -> None:
        super().__init__(heads)
        self.pools = _POOL[trunk]
        self.groups = nn.ModuleList()
        for index, group in enumerate(groups):
            convs: list[nn.Module] = [frozen_conv(weight, bias) for weight, bias in group]
            if trunk == "alex" and index == 0:
                # The only layer that is blurred before its ReLU; the authors pad it by 2 though it is 11 wide.
                convs = [BlurredConv(*group[0], padding=2)]
            self.groups.append(nn.ModuleList(convs))
        self.eval()

    def trunk(self, x: Tensor) -> list[Tensor]:
        made: list[Tensor] = []
        for index, group in enumerate(self.groups):
            if index in self.pools:
                x = blur_half(F.max_pool2d(x, self.pools[index], 1))
            for conv in group:  # type: ignore[attr-defined]
                x = F.relu_(conv(x))
            made.append(x)
        return made


def build_stlpips(state: Mapping[str, Tensor], net: Trunk = "alex") -> STLPIPS:
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
