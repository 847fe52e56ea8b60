"""A small SDIC that two CPU cores can train and run, for any generator with a 64 x 64 feature.

The idea is that of the paper (Zhang et al., arXiv 2312.07079): predict a map of what the base picture lacks, then
compensate the feature by gate * content and the codes by a scale and an offset. The means differ: a 2-D hourglass over
(source, base, source - base) instead of a 3-D one over a volume, features read in units of their own deviation, no
batch norm, so that a face's result never depends on its batch, and last layers of zeros, so that the untrained network
gives exactly the inversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.sdic.official import Compensation
from pipelines.types import Generator, Point

POINT: Point = 64
MAP_WIDTH = 128  # of the encoded map at 64 px
REACH = 10.0  # deviations; codes far from every face must not blow the network up
HINTS = 64  # channels of the hourglass at 64 px


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, zero: bool = False) -> nn.Conv2d:
    """A padded convolution with He initialisation, or all zeros."""
    made = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)
    if zero:
        nn.init.zeros_(made.weight)
    else:
        nn.init.kaiming_normal_(made.weight, a=0.2)
    assert made.bias is not None
    nn.init.zeros_(made.bias)
    return made


def act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class Residual(nn.Module):
    """x + two 3 x 3 convolutions; the identity at first, which is what makes training without norms stable."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.first = conv(c, c)
        self.second = conv(c, c, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.second(act(self.first(act(x))))
        return result


class DiscrepancyNet(nn.Module):
    """(source, base) n x 3 x 256 x 256 -> the map n x 3 x 256 x 256 and hints n x 64 x 64 x 64.

    The map starts as the plain difference; the network learns what to change about it. Works at 128 px and below.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (32, HINTS, 128, 192)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = conv(36, a)
        self.down = nn.ModuleList((conv(a, b, stride=2), conv(b, c, stride=2), conv(c, d, stride=2)))
        self.work = nn.ModuleList((Residual(b), Residual(c), Residual(d)))
        self.up = nn.ModuleList((conv(d, c, 1), conv(c, b, 1), conv(b, a, 1)))
        self.merge = nn.ModuleList((Residual(c), Residual(b)))
        self.head = conv(a, 12, zero=True)

    def forward(self, source: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        discrepancy, levels = self.levels(source, base)
        return discrepancy, levels[-1]

    def levels(self, source: Tensor, base: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The map, and what the hourglass holds on its way up: n x 192 x 16 x 16, n x 128 x 32 x 32, n x 64 x 64 x 64."""
        difference = source - base
        seen = torch.cat((source, base, difference), dim=1)
        x = self.stem(F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for down, work in zip(self.down, self.work, strict=True):
            skips.append(x)
            x = work(down(act(x)))
        levels = [x]
        for up, merge in zip(self.up, self.merge, strict=False):
            x = merge(skips.pop() + F.interpolate(up(x), scale_factor=2.0))
            levels.append(x)
        top = skips.pop() + F.interpolate(self.up[2](x), scale_factor=2.0)
        return difference + F.pixel_shuffle(self.head(act(top)), 2), levels


class MapEncoder(nn.Module):
    """Map n x 3 x 256 x 256 (and hints) -> what both compensators read, n x C x 64 x 64."""

    def __init__(self, hints: int) -> None:
        super().__init__()
        self.fine = conv(12, 48)
        self.coarse = conv(48, MAP_WIDTH, stride=2)
        self.channels = MAP_WIDTH + hints

    def forward(self, discrepancy: Tensor, hints: Tensor | None) -> Tensor:
        x = F.pixel_unshuffle(discrepancy, 2).contiguous(memory_format=torch.channels_last)
        x = self.coarse(act(self.fine(x)))
        return x if hints is None else torch.cat((x, hints), dim=1)


class FeatureHead(nn.Module):
    """Encoded map and evened feature -> sigmoid(gate) * content, n x C x 64 x 64, in units of the feature's deviation."""

    def __init__(self, encoded: int, channels: int, width: int = 128, read: int = 64) -> None:
        super().__init__()
        self.read = conv(channels, read, 1)
        self.mix = conv(encoded + read, width)
        self.work = Residual(width)
        self.gate = conv(width, channels, 1)
        self.content = conv(width, channels, 1, zero=True)

    def forward(self, encoded: Tensor, evened: Tensor) -> Tensor:
        x = self.mix(act(torch.cat((encoded, self.read(evened)), dim=1)))
        x = act(self.work(x))
        result: Tensor = torch.sigmoid(self.gate(x)) * self.content(x)
        return result


class LatentHead(nn.Module):
    """Encoded map and evened codes n x R x D -> their bounded change n x R x D, in units of w's deviation.

    change = bound * tanh(gamma * codes + theta); gamma and theta come from a basis of `rank` vectors per row.
    """

    def __init__(self, encoded: int, rows: int, dim: int, rank: int = 64, bound: float = 1.5) -> None:
        super().__init__()
        self.rows, self.rank, self.bound = rows, rank, bound
        self.narrow = nn.ModuleList((conv(encoded, 128, stride=2), conv(128, 128, stride=2)))
        self.summary = nn.Linear(128 * 16, 256)
        self.mixture = nn.Linear(256, rows * rank)
        self.scale = nn.Parameter(torch.zeros(rows, rank, dim))
        self.offset = nn.Parameter(torch.zeros(rows, rank, dim))

    def forward(self, encoded: Tensor, codes: Tensor) -> Tensor:
        x = F.avg_pool2d(act(encoded), 4)
        for narrow in self.narrow:
            x = act(narrow(x))
        mixture = self.mixture(act(self.summary(x.flatten(1)))).view(-1, self.rows, self.rank)
        gamma = torch.einsum("nrk,rkd->nrd", mixture, self.scale)
        theta = torch.einsum("nrk,rkd->nrd", mixture, self.offset)
        return self.bound * torch.tanh(gamma * codes + theta)


class LeanSDIC(nn.Module):
    """Discrepancy map, feature and latent compensation, as `pipelines.models.sdic.official.SDICNetwork`; about 5 M parameters.

    Args:
        num_ws, channels, dim: L, C and D of the generator (rows of codes, channels at 64 px, size of a row).
        first_row: the lowest row of codes that changes: those below drive what the injected feature replaces.
        discrepancy: "network", or "raw" for the plain difference (the paper's ablation).
        latent, feature: whether codes and feature are compensated (ablations).

    Statistics of the generator are buffers, stored with the weights; a new network gets them from `calibrate`.
    """

    def __init__(
        self,
        num_ws: int = 18,
        channels: int = 512,
        dim: int = 512,
        first_row: int = 8,
        discrepancy: Literal["network", "raw"] = "network",
        latent: bool = True,
        feature: bool = True,
    ) -> None:
        super().__init__()
        self.first_row = first_row
        self.map = DiscrepancyNet() if discrepancy == "network" else None
        self.encode = MapEncoder(HINTS if self.map is not None else 0)
        self.feature = FeatureHead(self.encode.channels, channels) if feature else None
        self.latent = LatentHead(self.encode.channels, num_ws - first_row, dim) if latent else None
        self.w_avg, self.w_std = nn.Buffer(torch.zeros(dim)), nn.Buffer(torch.ones(dim))
        self.feature_mean, self.feature_std = nn.Buffer(torch.zeros(channels)), nn.Buffer(torch.ones(channels))
        self.to(memory_format=torch.channels_last)

    def forward(self, source: Tensor, base: Tensor, feature: Tensor, latents: Tensor) -> Compensation:
        """source, base n x 3 x 256 x 256 in [-1, 1], RGB; feature n x C x 64 x 64; latents n x L x D.

        Returns:
            F' = F + deviation * sigmoid(gate) * content, W' = W + deviation * change, and the map.
        """
        base = base.clamp(-1, 1)  # generators leave the range a little, photos never do
        discrepancy, hints = (source - base, None) if self.map is None else self.map(source, base)
        encoded = self.encode(discrepancy, hints)
        if self.feature is not None:
            change = self.feature(encoded, self.evened(feature))
            feature = feature + change * self.feature_std[:, None, None]
        if self.latent is not None:
            codes = ((latents[:, self.first_row :] - self.w_avg) / self.w_std).clamp(-REACH, REACH)
            change = F.pad(self.latent(encoded, codes), (0, 0, self.first_row, 0))
            latents = latents + change * self.w_std
        return Compensation(feature, latents, discrepancy)

    def evened(self, feature: Tensor) -> Tensor:
        """A feature in units of its channels' deviation (they differ in size by a factor of 30), within +-`REACH`."""
        even = (feature - self.feature_mean[:, None, None]) / self.feature_std[:, None, None]
        return even.clamp(-REACH, REACH)

    @torch.no_grad()
    def calibrate(self, generator: Generator, samples: int = 64, seed: int = 0) -> None:
        """Take the statistics of codes and feature from `generator`, over `samples` random faces, in float64."""
        rng = torch.Generator().manual_seed(seed)
        total, squares, count = (torch.zeros_like(self.feature_mean, dtype=torch.float64) for _ in range(3))
        for start in range(0, samples, 4):
            z = torch.randn(min(4, samples - start), len(self.w_avg), generator=rng)
            made = generator.features(generator.map(z.to(generator.device)), (POINT,))[POINT].double().to(total.device)
            total += made.sum(dim=(0, 2, 3))
            squares += made.square().sum(dim=(0, 2, 3))
            count += made.numel() // len(total)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        # A channel that hardly lives would be blown up to noise: no deviation below a hundredth of the usual.
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(deviation.clamp(min=float(deviation.mean()) * 0.01 + 1e-8))
        self.w_avg.copy_(generator.w_avg)
        self.w_std.copy_(generator.w_std.clamp(min=1e-8))


def lean_for(generator: Generator, channels: int = 512, seed: int = 0, **switches: bool | str) -> LeanSDIC:
    """A new, calibrated network for `generator`; the same weights for the same seed. `switches` as in `LeanSDIC`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LeanSDIC(generator.num_ws, channels, len(generator.w_avg), **switches)  # type: ignore[arg-type]
    network.calibrate(generator)
    return network.to(generator.device)


def load_lean(tensors: Mapping[str, Tensor], num_ws: int = 18) -> LeanSDIC:
    """A frozen network in eval mode, float32, on the CPU, from its state dict in any precision; switches are read off the keys.

    Raises:
        WeightsError: these are no weights of a lean SDIC for a generator of `num_ws` rows.
    """
    try:
        rows = tensors["latent.scale"].shape[0] if "latent.scale" in tensors else num_ws
        network = LeanSDIC(
            num_ws,
            len(tensors["feature_std"]),
            len(tensors["w_std"]),
            first_row=num_ws - rows,
            discrepancy="network" if "map.stem.weight" in tensors else "raw",
            latent="latent.scale" in tensors,
            feature="feature.read.weight" in tensors,
        )
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"these are no SDIC weights for a generator of {num_ws} rows: {reason}") from None
    return network.requires_grad_(False).eval()
