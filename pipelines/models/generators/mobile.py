"""MobileStyleGAN (Belousov, arXiv 2104.04767), FFHQ 1024 px, as the `random-face` archive carries it.

A student distilled from StyleGAN2's FFHQ generator that reads the *same* W: directions and encoders of the field apply.
Rows of W+ are numbered as in StyleGAN2 (18 rows): the first convolution reads row 0, block i (0..6) reads row 2i+1 in
its upsampling and first convolution and row 2i+2 in its second, the image head row 15. Rows 16 and 17 are not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.generators.preview import PREVIEW_POINT, SKETCH_POINT, PictureHead
from pipelines.models.ops import as_rows, double_inverse_haar, pixel_norm
from pipelines.types import Injection, Point, Synthesis

NUM_WS = 18
SLOPE = 0.2
CHANNELS = (512, 512, 512, 512, 256, 128, 64)
HEAD_ROW = 15
SKETCH_BLOCK, PREVIEW_BLOCK = 4, 5  # the first block that each cheap head stands in for
SQUARE_BLOCK = 3  # the block after whose first convolution a square's feature lies: 64 px
Corner = tuple[int, int]  # (y, x), pixels


class Mapping8(nn.Module):
    """z n x 512 -> w n x 512: eight linear layers, leaky ReLU 0.2 times sqrt 2 (equalised-rate factors folded in)."""

    def __init__(self, dim: int = 512, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(depth))

    def forward(self, z: Tensor) -> Tensor:
        x = pixel_norm(z)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE) * math.sqrt(2)
        return x


class StyledConv(nn.Module):
    """A modulated convolution with static demodulation (folded into the weights), fixed noise, bias and leaky ReLU.

    Dense 3x3 where `separable` is off, else depthwise 3x3 then 1x1. The modulation factor already holds the
    1 / sqrt(9 C_in) of the equalised rate.
    """

    def __init__(self, c_in: int, c_out: int, size: int, separable: bool = True, dim: int = 512) -> None:
        super().__init__()
        self.affine = nn.Linear(dim, c_in)
        self.depthwise = nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in, bias=False) if separable else None
        self.mix = nn.Conv2d(c_in, c_out, 1) if separable else nn.Conv2d(c_in, c_out, 3, padding=1)
        self.noise = nn.Buffer(torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, corner: Corner = (0, 0)) -> Tensor:
        """x n x C_in x H x W, already multiplied by its style -> n x C_out x H x W; `corner`: where in the whole x lies."""
        if self.depthwise is not None:
            x = self.depthwise(x)
        noise = self.noise[:, :, corner[0] : corner[0] + x.shape[2], corner[1] : corner[1] + x.shape[3]]
        # Both steps write into the convolution's fresh output: the upper levels are bound by memory traffic.
        return F.leaky_relu_(self.mix(x).add_(noise), SLOPE)


class Block(nn.Module):
    """Inverse Haar step to twice the size, then two separable styled convolutions."""

    def __init__(self, c_in: int, c_out: int, size: int, dim: int = 512) -> None:
        super().__init__()
        self.up = nn.Linear(dim, c_in)
        self.conv1 = StyledConv(c_in // 4, c_out, size, dim=dim)
        self.conv2 = StyledConv(c_out, c_out, size, dim=dim)

    def first(self, x: Tensor, row: Tensor, corner: Corner = (0, 0)) -> Tensor:
        """x n x C_in x H/2 x W/2, row n x 512 -> the feature after the first (upsampling) convolution, whose corner it is."""
        result: Tensor = self.conv1(double_inverse_haar(x * self.style(row)[:, :, None, None]), corner)
        return result

    def style(self, row: Tensor) -> Tensor:
        """The factors n x C_in of the step up, of the Haar transform's half and of the first convolution.

        Scaling a channel commutes with the Haar step, so one multiplication at the small size does all three.
        """
        factors: Tensor = self.up(row) * self.conv1.affine(row).mul(0.5).repeat(1, 4)
        return factors

    def second(self, x: Tensor, row: Tensor, corner: Corner = (0, 0)) -> Tensor:
        result: Tensor = self.conv2(x * self.conv2.affine(row)[:, :, None, None], corner)
        return result


class _Step(NamedTuple):
    point: Point
    row: int
    block: int  # -1: the constant and the first convolution
    second: bool


def _halved(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias * 0.5


def _steps(blocks: int) -> list[_Step]:
    steps = [_Step(4, 0, -1, False)]
    for i in range(blocks):
        size = 8 << i
        steps += [_Step(size, 2 * i + 1, i, False), _Step(f"{size}b", 2 * i + 2, i, True)]
    return steps


class MobileStyleGAN(nn.Module):
    """The whole generator; see `pipelines.types.Generator` for the contract.

    Points for `inject` and `collect`: 4 (after the first convolution), then per block 8..512 the size (after its first
    convolution) and the size with "b" (after its second). At 64: 512 x 64 x 64, driven by rows 7 and 8. Channels of the "b"
    points come in the four bands of the Haar step that follows (`pipelines.models.ops.band_order`).

    Everything runs in channels-last memory.

    Attributes:
        w_avg, w_std: mean and standard deviation of w per coordinate (512).
        w_whiten: 512 x 512; (w - w_avg) @ w_whiten has unit covariance: its mean square is the normalised distance.
    """

    name = "mobile-ffhq"

    def __init__(self, channels: tuple[int, ...] = CHANNELS, dim: int = 512) -> None:
        super().__init__()
        self.num_ws = NUM_WS
        self.resolution = 8 << len(channels)
        self.mapping = Mapping8(dim)
        first = channels[0]
        self.const = nn.Parameter(torch.zeros(1, first, 4, 4))
        self.conv0 = StyledConv(first, first, 4, separable=False, dim=dim)
        sources = (first, *channels[:-1])
        self.blocks = nn.ModuleList(
            Block(c_in, c_out, 8 << i, dim) for i, (c_in, c_out) in enumerate(zip(sources, channels, strict=True))
        )
        self.head_affine = nn.Linear(dim, channels[-1])
        self.head = nn.Conv2d(channels[-1], 12, 1)
        self.sketch_head = self._picture_head(SKETCH_BLOCK)
        self.preview_head = self._picture_head(PREVIEW_BLOCK)
        self.w_avg: Tensor = nn.Buffer(torch.zeros(dim))
        self.w_std: Tensor = nn.Buffer(torch.ones(dim))
        self.w_whiten: Tensor = nn.Buffer(torch.eye(dim))
        self.steps = _steps(len(channels))
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.const.device

    def map(self, z: Tensor) -> Tensor:
        """z n x 512, standard normal -> w n x 512."""
        w: Tensor = self.mapping(z)
        return w

    def synthesize(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """w n x 512 or n x 18 x 512 -> n x 3 x 1024 x 1024, about [-1, 1], not clamped; features at `collect`."""
        rows = as_rows(w, self.num_ws)
        x, features = self._climb(rows, inject or {}, collect, self.steps[-1].point)
        return Synthesis(self._image(x, rows), features)

    def _image(self, x: Tensor, rows: Tensor) -> Tensor:
        style = self.head_affine(rows[:, HEAD_ROW])
        return double_inverse_haar(
            F.conv2d(x * style[:, :, None, None], self.head.weight * 0.5, _halved(self.head.bias))
        )

    def synthesize_part(self, w: Tensor, feature: Tensor, corner: Corner) -> Tensor:
        """What a part of the 64 px feature becomes; its own borders are wrong where they are not the picture's.

        Args:
            w: n x 512 or n x 18 x 512.
            feature: n x 512 x h x w, cut out of the feature after the 64 px block's first convolution.
            corner: (y, x) of the part in that feature, in its pixels.

        Returns:
            n x 3 x 16h x 16w in the whole generator.
        """
        rows, scale = as_rows(w, self.num_ws), 1
        x = feature.contiguous(memory_format=torch.channels_last)
        for step in self.steps[2 * SQUARE_BLOCK + 2 :]:
            scale *= 1 if step.second else 2
            x = self._step(step, x, rows[:, step.row], (corner[0] * scale, corner[1] * scale))
        return self._image(x, rows)

    def preview(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """As `synthesize`, but n x 3 x 256 x 256 through the fitted low-resolution head on the 128 px feature."""
        rows = as_rows(w, self.num_ws)
        x, features = self._climb(rows, inject or {}, collect, PREVIEW_POINT)
        return Synthesis(self.preview_from(x, rows), features)

    def preview_from(self, feature: Tensor, rows: Tensor) -> Tensor:
        """The low-resolution head alone: the 128 px feature ("128b") and codes n x 18 x 512 -> n x 3 x 256 x 256."""
        return self._picture(self.preview_head, PREVIEW_BLOCK, feature, rows)

    def sketch(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """As `preview`, but n x 3 x 128 x 128 from the 64 px feature: coarser, several times cheaper; for training."""
        rows = as_rows(w, self.num_ws)
        x, features = self._climb(rows, inject or {}, collect, SKETCH_POINT)
        return Synthesis(self.sketch_from(x, rows), features)

    def sketch_from(self, feature: Tensor, rows: Tensor) -> Tensor:
        """The coarser head alone: the 64 px feature ("64b") and codes n x 18 x 512 -> n x 3 x 128 x 128."""
        return self._picture(self.sketch_head, SKETCH_BLOCK, feature, rows)

    def noise_maps(self) -> tuple[str, ...]:
        """The maps below the preview head's feature, 4 to 128 px (see `pipelines.types.NoiseGenerator`)."""
        blocks = range(min(PREVIEW_BLOCK, len(self.blocks)))
        names = ["conv0.noise", *(f"blocks.{i}.{conv}.noise" for i in blocks for conv in ("conv1", "conv2"))]
        return tuple(name for name in names if bool(self.get_buffer(name).any()))

    def _picture_head(self, block: int) -> PictureHead:
        """A head that stands in for everything from `block` on."""
        first = min(block, len(self.blocks) - 1)  # small test generators have fewer blocks, and no use for heads
        above = [b for b in self.blocks[first:] if isinstance(b, Block)]
        styles = sum(b.up.out_features + b.conv2.affine.out_features for b in above) + self.head_affine.out_features
        return PictureHead(above[0].up.out_features, styles)

    def _picture(self, head: PictureHead, block: int, feature: Tensor, rows: Tensor) -> Tensor:
        read, styles = self.styles_above(rows, block)
        image: Tensor = head(feature, read, styles)
        return image

    def styles_above(self, rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """How `block` (0..6) reads the feature below it, n x C, and every style from there up in one vector."""
        styles = []
        for i in range(block, len(self.blocks)):
            above = self.blocks[i]
            assert isinstance(above, Block)
            styles += [above.style(rows[:, 2 * i + 1]), above.conv2.affine(rows[:, 2 * i + 2])]
        return styles[0], torch.cat([*styles, self.head_affine(rows[:, HEAD_ROW])], dim=1)

    def features(
        self, w: Tensor, points: tuple[Point, ...], inject: Mapping[Point, Injection] | None = None
    ) -> dict[Point, Tensor]:
        """The features at `points` alone; nothing above the highest of them is computed."""
        rows = as_rows(w, self.num_ws)
        highest = max(points, key=lambda point: [step.point for step in self.steps].index(point))
        return self._climb(rows, inject or {}, points, highest)[1]

    def _climb(
        self, rows: Tensor, inject: Mapping[Point, Injection], collect: tuple[Point, ...], last: Point
    ) -> tuple[Tensor, dict[Point, Tensor]]:
        """Run the steps up to the point `last`, starting as high as injected tensors and `collect` allow."""
        steps = self.steps[: [s.point for s in self.steps].index(last) + 1]
        known = {step.point for step in self.steps}
        if unknown := [p for p in (*inject, *collect) if p not in known]:
            raise ValueError(f"no feature point {unknown[0]!r} in {self.name}; known: {sorted(known, key=str)}")
        features: dict[Point, Tensor] = {}
        x: Tensor = self.const
        for step in steps[self._start(steps, inject, collect) :]:
            injection = inject.get(step.point)
            if isinstance(injection, Tensor):
                x = injection.contiguous(memory_format=torch.channels_last)
            else:
                x = self._step(step, x, rows[:, step.row])
            if callable(injection) and not isinstance(injection, Tensor):
                x = injection(x).contiguous(memory_format=torch.channels_last)
            if step.point in collect:
                features[step.point] = x
        return x, features

    @staticmethod
    def _start(steps: list[_Step], inject: Mapping[Point, Injection], collect: tuple[Point, ...]) -> int:
        """The highest step that an injected tensor replaces and below which nothing is collected."""
        replaced = [i for i, step in enumerate(steps) if isinstance(inject.get(step.point), Tensor)]
        wanted = [i for i, step in enumerate(steps) if step.point in collect]
        lowest = min(wanted, default=len(steps))
        return max((i for i in replaced if i <= lowest), default=0)

    def _step(self, step: _Step, x: Tensor, row: Tensor, corner: Corner = (0, 0)) -> Tensor:
        if step.block < 0:
            scaled = self.const * self.conv0.affine(row)[:, :, None, None]
            first: Tensor = self.conv0(scaled)
            return first
        block = self.blocks[step.block]
        assert isinstance(block, Block)
        return block.second(x, row, corner) if step.second else block.first(x, row, corner)
