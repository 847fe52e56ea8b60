"""StyleGAN2, config-f (Karras et al. 2020, arXiv 1912.04958), in plain PyTorch, for any power-of-two size.

The state dict has the names and shapes of rosinality's port, in which the checkpoints of this field (e4e, pSp, SDIC,
LSAP and their kin) carry their generator; only its constant filters (``*.kernel``) are no part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pipelines.images.pixels import resize_area
from pipelines.models.generators.stylegan2_layers import (
    EqualLinear,
    ModulatedConv,
    Modulation,
    PixelNorm,
    StyledConv,
    ToRGB,
)
from pipelines.models.generators.stylegan2_plan import Layer, layers_of, needed
from pipelines.models.ops import as_rows
from pipelines.types import Injection, Point, Synthesis

Noise = Literal["stored", "fresh", "none"] | Sequence[Tensor]
PREVIEW_SIZE = 256
MAPPING_LAYERS = 8
MAPPING_RATE = 0.01


def config_f(resolution: int) -> dict[int, int]:
    """Channels of each block by its size: 512 up to 64 px, then halved at every step (channel multiplier 2)."""
    return {4 << k: min(512, 32768 // (4 << k)) for k in range(resolution.bit_length() - 2)}


class _Constant(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class _Noises(nn.Module):
    """The stored noise maps, `noise_0` at 4 px, then two a block: 1 x 1 x size x size each."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        for layer in layers:
            if not layer.rgb:
                self.register_buffer(f"noise_{layer.noise}", torch.randn(1, 1, layer.size, layer.size))

    def __getitem__(self, index: int) -> Tensor:
        stored: Tensor = self.get_buffer(f"noise_{index}")
        return stored


class StyleGAN2(nn.Module):
    """The whole generator; see `pipelines.types.Generator` for the contract.

    Points for `inject` and `collect`: 4, then per block 8..resolution the size (after its up-sampling convolution), the
    size with "b" (after its second) and with "rgb" (its skip picture, n x 3); also "4rgb". At 64 the feature is
    512 x 64 x 64 and stands behind `convs.6`, driven by row 7.

    Runs in float32, or in the caller's `torch.autocast`; styles, demodulation and the skip picture stay float32 then.
    Frozen and in eval mode; tuning switches `requires_grad` on.

    Args:
        resolution: side of the picture in pixels, a power of two from 8 on.
        channels: block size -> channels; config-f where not given.
        dim: dimensions of z and w.
        mapping_layers: linear layers from z to w (8; NVIDIA's ada configurations also have 2).

    Attributes:
        num_ws: rows of W+: 2 log2(resolution) - 2.
        layers: every layer in running order; styles come in this order (`styles`).
        w_avg, w_std, w_whiten: statistics of w as `pipelines.types.Generator` defines them. No part of the state dict:
            set by `pipelines.models.generators.stylegan2_state`.
    """

    name = "stylegan2-ffhq"

    def __init__(
        self,
        resolution: int,
        channels: Mapping[int, int] | None = None,
        dim: int = 512,
        mapping_layers: int = MAPPING_LAYERS,
    ) -> None:
        super().__init__()
        self.layers = layers_of(resolution)
        self.resolution, self.dim = resolution, dim
        self.num_ws = 2 * resolution.bit_length() - 4
        widths = channels or config_f(resolution)
        sizes = sorted(widths)
        mapping = (EqualLinear(dim, dim, MAPPING_RATE, active=True) for _ in range(mapping_layers))
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = _Constant(widths[4])
        self.conv1 = StyledConv(widths[4], widths[4], dim)
        self.to_rgb1 = ToRGB(widths[4], dim)
        pairs = list(itertools.pairwise(sizes))
        self.convs = nn.ModuleList(
            conv
            for below, size in pairs
            for conv in (
                StyledConv(widths[below], widths[size], dim, up=True),
                StyledConv(widths[size], widths[size], dim),
            )
        )
        self.to_rgbs = nn.ModuleList(ToRGB(widths[size], dim) for _, size in pairs)
        self.noises = _Noises(self.layers)
        self.w_avg: Tensor = nn.Buffer(torch.zeros(dim), persistent=False)
        self.w_std: Tensor = nn.Buffer(torch.ones(dim), persistent=False)
        self.w_whiten: Tensor = nn.Buffer(torch.eye(dim), persistent=False)
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return self.input.input.device

    def modulate(self, mode: Modulation) -> None:
        """How every convolution takes its style; see `ModulatedConv`. For measurements; the default is "auto"."""
        for module in self.modules():
            if isinstance(module, ModulatedConv):
                module.mode = mode

    # -- codes -------------------------------------------------------------------------------------------------------

    def map(self, z: Tensor) -> Tensor:
        """z n x 512, standard normal -> w n x 512."""
        w: Tensor = self.style(z)
        return w

    def truncate(self, w: Tensor, psi: float, rows: int | None = None) -> Tensor:
        """w n x 512 or n x L x 512 -> n x L x 512, its first `rows` rows (None: all) moved to w_avg + psi (w - w_avg)."""
        codes = as_rows(w, self.num_ws).clone()
        codes[:, :rows] = self.w_avg + psi * (codes[:, :rows] - self.w_avg)
        return codes

    def styles(self, w: Tensor) -> list[Tensor]:
        """w n x 512 or n x L x 512 -> StyleSpace: the affine outputs n x C_in, one per layer of `layers`, in that order.

        (Wu et al. 2021, arXiv 2011.12799: 9,088 numbers at 1024 px, toRGB layers included.)
        """
        rows = as_rows(w, self.num_ws)
        return [*map(self._reader(rows), self.layers)]

    def row_layers(self) -> list[int]:
        """For each row of W+ the index in `layers` of the one layer that stands for it: the convolutions, then the last toRGB.

        (LSAP, Cao et al. 2022, arXiv 2209.12746, measures codes in these L style vectors.)
        """
        convolutions = [i for i, layer in enumerate(self.layers) if not layer.rgb]
        return [*convolutions, len(self.layers) - 1]

    # -- pictures ----------------------------------------------------------------------------------------------------

    def synthesize(
        self,
        w: Tensor,
        inject: Mapping[Point, Injection] | None = None,
        collect: tuple[Point, ...] = (),
        *,
        noise: Noise = "stored",
    ) -> Synthesis:
        """w n x 512 or n x L x 512 -> n x 3 x R x R, about [-1, 1], not clamped; features at `collect`.

        Args:
            noise: "stored" (the checkpoint's maps: the same picture every time), "fresh" (N(0, 1), one map per picture,
                from torch's generator: training), "none", or a map per convolution, 1 or n x 1 x size x size.
        """
        rows, given = as_rows(w, self.num_ws), inject or {}
        if len(rows) > 1 and self._one_by_one(given, noise):
            alone = ((rows[i : i + 1], _slice(given, i)) for i in range(len(rows)))
            return _joined([self.synthesize(row, part, collect, noise=noise) for row, part in alone])
        return self._pass(self._reader(rows), given, collect, True, noise)

    def synthesize_styles(
        self,
        styles: Sequence[Tensor],
        inject: Mapping[Point, Injection] | None = None,
        collect: tuple[Point, ...] = (),
        *,
        noise: Noise = "stored",
    ) -> Synthesis:
        """As `synthesize`, from style vectors in the order of `styles` (edits in StyleSpace)."""
        if len(styles) != len(self.layers):
            raise ValueError(f"{len(styles)} style vectors given, the generator has {len(self.layers)} layers")
        return self._pass(dict(zip(self.layers, styles, strict=True)).__getitem__, inject or {}, collect, True, noise)

    def preview(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """As `synthesize`, with the picture area-downsampled to n x 3 x 256 x 256 (enlarged where R is smaller): exact.

        The 256 px skip picture would be cheaper, but it lacks what the blocks above add at low frequencies, too: StyleGAN2
        is not trained to make its skips pictures of their own.
        """
        made = self.synthesize(w, inject, collect)
        return Synthesis(resize_area(made.image, PREVIEW_SIZE), made.features)

    def features(
        self, w: Tensor, points: tuple[Point, ...], inject: Mapping[Point, Injection] | None = None
    ) -> dict[Point, Tensor]:
        """The features at `points` alone; nothing above the highest of them is computed."""
        return self._pass(self._reader(as_rows(w, self.num_ws)), inject or {}, points, False, "stored").features

    def noise_maps(self) -> tuple[str, ...]:
        """The maps up to 256 px whose strength is not 0 (see `pipelines.types.NoiseGenerator`)."""
        layers = (layer for layer in self.layers if not layer.rgb and layer.size <= PREVIEW_SIZE)
        heard = (layer for layer in layers if bool(self.get_parameter(f"{layer.module}.noise.weight").any()))
        return tuple(f"noises.noise_{layer.noise}" for layer in heard)

    def _pass(
        self,
        style: Callable[[Layer], Tensor],
        inject: Mapping[Point, Injection],
        collect: tuple[Point, ...],
        image: bool,
        noise: Noise,
    ) -> Synthesis:
        """Visit the layers that are needed; without `image` the result's picture is whatever was made last."""
        features: dict[Point, Tensor] = {}
        x: Tensor = self.input.input
        skip: Tensor | None = None
        for layer in needed(self.layers, inject, collect, image):
            injection = inject.get(layer.point)
            if isinstance(injection, Tensor):
                made = injection.contiguous(memory_format=torch.channels_last)
            else:
                made = self._step(layer, x, skip, style(layer), noise)
                if injection is not None:
                    made = injection(made).contiguous(memory_format=torch.channels_last)
            if layer.point in collect:
                features[layer.point] = made
            if layer.rgb:
                skip = made
            else:
                x = made
        return Synthesis(x if skip is None else skip, features)

    def _reader(self, rows: Tensor) -> Callable[[Layer], Tensor]:
        """Style vectors of codes n x L x 512, each made when it is asked for: a partial pass needs few of them."""
        return lambda layer: self._layer(layer).style(rows[:, layer.row])

    def _one_by_one(self, inject: Mapping[Point, Injection], noise: Noise) -> bool:
        """True where a batch costs more than its pictures alone: on a CPU modulated kernels win (`ModulatedConv`).

        What comes from outside as a function or a list of maps may be meant for the whole batch, and gradients would hold
        every picture's activations either way.
        """
        whole = any(not isinstance(value, Tensor) for value in inject.values()) or not isinstance(noise, str)
        return self.device.type == "cpu" and not torch.is_grad_enabled() and not whole

    def _step(self, layer: Layer, x: Tensor, skip: Tensor | None, style: Tensor, noise: Noise) -> Tensor:
        module = self._layer(layer)
        if isinstance(module, ToRGB):
            picture: Tensor = module(x, style, skip)
            return picture
        if layer.point == 4:
            x = x.expand(len(style), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        feature: Tensor = module(x, style, self._noise(layer, len(style), noise))
        return feature

    def _noise(self, layer: Layer, count: int, noise: Noise) -> Tensor | None:
        if noise == "none":
            return None
        if noise == "stored":
            return self.noises[layer.noise]
        if noise == "fresh":
            return torch.randn(count, 1, layer.size, layer.size, device=self.device)
        assert not isinstance(noise, str)
        return noise[layer.noise]

    def _layer(self, layer: Layer) -> StyledConv | ToRGB:
        module = self.get_submodule(layer.module)
        assert isinstance(module, StyledConv | ToRGB)
        return module


def _slice(inject: Mapping[Point, Injection], i: int) -> dict[Point, Injection]:
    """Picture i's part of injected tensors."""
    return {point: value[i : i + 1] for point, value in inject.items() if isinstance(value, Tensor)}


def _joined(parts: Sequence[Synthesis]) -> Synthesis:
    features = {point: torch.cat([part.features[point] for part in parts]) for point in parts[0].features}
    return Synthesis(torch.cat([part.image for part in parts]), features)
