"""The official deghosting network: GLEAN (Chan et al., CVPR 2021) with a frozen StyleGAN2 between encoder and decoder.

It sees 128 px and makes 1024 px, so everything finer than 8 px is made anew, in the face and outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.diffcam.rrdb import SLOPE, RRDBNet, conv
from pipelines.models.generators.stylegan2 import StyleGAN2, config_f
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.types import Injection, Point

_CODE = 512
_SMALLEST = 4  # px, of the encoder's last feature
_STATISTICS = 64  # mapped samples: nobody asks this generator for the spread of its codes


class _ToCodes(nn.Sequential):
    """The 4 px feature -> codes n x L x 512."""

    def __init__(self, rows: int) -> None:
        features = _CODE * _SMALLEST**2
        super().__init__(conv(_CODE, _CODE), nn.LeakyReLU(SLOPE), nn.Flatten(), nn.Linear(features, rows * _CODE))
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x.view(len(x), self.rows, _CODE)


class _Up(nn.Module):
    """A convolution whose channels become squares of 2 x 2 pixels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.upsample_conv = conv(c_in, 4 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.upsample_conv(x), 2)


class FCN(nn.Module):
    """What GLEAN trains: encoder, fusions, decoder; keys of the checkpoint without `fusion_skip`, which reaches nothing.

    Args:
        side, resolution: of the picture that goes in and comes out, powers of two.
    """

    def __init__(self, side: int, resolution: int) -> None:
        super().__init__()
        widths = config_f(resolution)
        sizes = [size for size in sorted(widths, reverse=True) if size <= side]  # side, side / 2, ..., 4
        encoder: list[nn.Module] = [RRDBNet(widths[side])]
        for above, size in itertools.pairwise(sizes):
            first, second = conv(widths[above], widths[size], 2), conv(widths[size], widths[size])
            encoder.append(nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE)))
        rows = 2 * resolution.bit_length() - 4
        self.encoder = nn.ModuleList([*encoder, _ToCodes(rows)])
        self.fusion_out = nn.ModuleList(conv(2 * widths[size], widths[size]) for size in reversed(sizes))
        larger = [size for size in sorted(widths) if size > side]
        self.decoder = nn.ModuleList(
            _Up(widths[size // 2] * (1 if size == larger[0] else 2), widths[size]) for size in larger
        )
        self.decoder.append(nn.Sequential(conv(2 * widths[resolution], 64), nn.LeakyReLU(SLOPE), conv(64, 3)))
        self.sizes, self.larger = tuple(reversed(sizes)), tuple(larger)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """n x 3 x side x side -> features of 4 px, 8 px, ..., side, and codes n x L x 512."""
        found = [F.leaky_relu(self.encoder[0](x), SLOPE)]
        for step in list(self.encoder)[1:-1]:
            found.append(step(found[-1]))
        codes: Tensor = self.encoder[-1](found[-1])
        return found[::-1], codes

    def decode(self, feature: Tensor, priors: list[Tensor]) -> Tensor:
        """The encoder's finest feature, and the generator's at each larger size -> n x 3 x R x R, not clamped."""
        x = feature
        for step, prior in zip(self.decoder, priors, strict=False):
            x = torch.cat((step(x), prior), dim=1)
        made: Tensor = self.decoder[-1](x)
        return made


class Deghosting(nn.Module):
    """Ghosted picture n x 3 x side x side in [-1, 1], RGB -> n x 3 x R x R, not clamped.

    Args:
        generator: the frozen prior, with its stored noise.
        side: of the picture that goes in; 128 in the published checkpoint, whose R is 1024.
    """

    def __init__(self, generator: StyleGAN2, side: int) -> None:
        super().__init__()
        self.FCN = FCN(side, generator.resolution)
        self.generator = generator

    def forward(self, ghosted: Tensor) -> Tensor:
        features, codes = self.FCN.encode(ghosted)
        inject: dict[Point, Injection] = {}
        for size, feature, fusion in zip(self.FCN.sizes, features, self.FCN.fusion_out, strict=True):
            inject[_point(size)] = partial(_fused, fusion, feature)
        wanted = tuple(_point(size) for size in self.FCN.larger)
        made = self.generator.synthesize(codes, inject, wanted)
        return self.FCN.decode(features[-1], [made.features[point] for point in wanted])


def _point(size: int) -> Point:
    """The feature of that size which the next stage reads."""
    return 4 if size == 4 else f"{size}b"


def _fused(fusion: nn.Module, encoded: Tensor, x: Tensor) -> Tensor:
    made: Tensor = fusion(torch.cat((x, encoded), dim=1))
    return made


def load_deghosting(tensors: Mapping[str, Tensor]) -> Deghosting:
    """A frozen network in eval mode, float32, on the CPU, from a converted checkpoint (`FCN.` and `generator.` keys).

    Raises:
        WeightsError: a tensor is missing, superfluous or has another shape.
    """
    inside = {key.removeprefix("generator."): value for key, value in tensors.items() if key.startswith("generator.")}
    levels = len({key.split(".")[2] for key in tensors if key.startswith("FCN.fusion_out.")})
    generator = build_stylegan2(inside, "the deghosting net's generator", _STATISTICS)
    if not 2 <= levels < generator.resolution.bit_length() - 2:
        raise WeightsError(
            f"these are no deghosting weights: {levels} fusions fit no {generator.resolution} px generator"
        )
    network = Deghosting(generator, 2 << levels)
    fcn = {key.removeprefix("FCN."): value for key, value in tensors.items() if key.startswith("FCN.")}
    try:
        network.FCN.load_state_dict(fcn)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise WeightsError(f"these are no weights of the deghosting net: {reason}") from None
    return network.requires_grad_(False).eval()
