"""Gradual residuals for any generator with features at 16, 32 and 64 px: pyramid, residual modules, aligners.

After Li et al., "Gradual Residuals Alignment" (AAAI 2024, arXiv 2402.14398), of which only the idea and the framework's
figure were to be had: lost detail is added stage by stage, coarse to fine, each stage seeing the generator's feature as the
stages below have corrected it. The inside is ours, and shares its blocks, and may share its weights, with the lean SDIC
(`pipelines.models.sdic.lean`): the pyramid is that hourglass over (source, base, source - base). Last layers are zeros, so that
the untrained network changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.gra.align import Aligner
from pipelines.models.sdic.lean import HINTS, REACH, DiscrepancyNet, FeatureHead, LatentHead, MapEncoder
from pipelines.types import Generator, Point

POINTS: tuple[Point, ...] = (16, 32, 64)
KEEP = (8, 4, 4)  # places that a query selects at each of them


@dataclass(frozen=True)
class Pyramid:
    """What a photo and its base picture say: `levels` point -> n x c x r x r, and `encoded` n x c x 64 x 64."""

    levels: Mapping[Point, Tensor]
    encoded: Tensor

    def __getitem__(self, point: Point) -> Tensor:
        return self.levels[point]

    def of(self, where: slice) -> Pyramid:
        """That of some of the faces."""
        return Pyramid({point: level[where] for point, level in self.levels.items()}, self.encoded[where])


class Evening(nn.Module):
    """Statistics of a point's channels, which differ in size by a factor of 30; buffers, stored with the weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean, self.std = nn.Buffer(torch.zeros(channels)), nn.Buffer(torch.ones(channels))

    def forward(self, feature: Tensor) -> Tensor:
        """A feature n x C x r x r in units of its channels' deviation, within +-`REACH`."""
        return ((feature - self.mean[:, None, None]) / self.std[:, None, None]).clamp(-REACH, REACH)

    def size(self, residual: Tensor) -> Tensor:
        """A residual n x C x r x r in the same units."""
        return residual / self.std[:, None, None]

    def back(self, residual: Tensor) -> Tensor:
        return residual * self.std[:, None, None]


class GRANetwork(nn.Module):
    """See the module. About 7.5 M parameters for three stages of 512 channels.

    Args:
        num_ws, dim: L and D of the generator (rows of codes, size of a row).
        channels: of the features at `points`.
        first_row: the lowest row of codes that changes: those below drive the corrected features.
        confident, attentive: ablations of the aligners (`pipelines.models.gra.align.Aligner`).

    Attributes:
        active: stages that add something; the others' residuals are zero (staged training, ablations).
    """

    def __init__(
        self,
        num_ws: int = 18,
        channels: Sequence[int] = (512, 512, 512),
        dim: int = 512,
        first_row: int = 8,
        confident: bool = True,
        attentive: bool = True,
    ) -> None:
        super().__init__()
        self.first_row, self.active = first_row, POINTS
        self.map = DiscrepancyNet()
        self.encode = MapEncoder(HINTS)
        sees = (192, 128, self.encode.channels)
        stages = list(zip(POINTS, channels, sees, KEEP, strict=True))
        self.residual = nn.ModuleDict({str(p): FeatureHead(seen, c) for p, c, seen, _ in stages})
        self.align = nn.ModuleDict({str(p): Aligner(c, int(p), keep, confident, attentive) for p, c, _, keep in stages})
        self.even = nn.ModuleDict({str(p): Evening(c) for p, c, _, _ in stages})
        self.latent = LatentHead(self.encode.channels, num_ws - first_row, dim)
        self.w_avg, self.w_std = nn.Buffer(torch.zeros(dim)), nn.Buffer(torch.ones(dim))
        self.to(memory_format=torch.channels_last)

    def look(self, source: Tensor, base: Tensor) -> Pyramid:
        """source, base n x 3 x 256 x 256 in [-1, 1], RGB."""
        discrepancy, levels = self.map.levels(source, base.clamp(-1, 1))
        encoded = self.encode(discrepancy, levels[-1])
        return Pyramid(dict(zip(POINTS, (*levels[:-1], encoded), strict=True)), encoded)

    def change(self, pyramid: Pyramid, latents: Tensor) -> Tensor:
        """What to add to the codes n x L x D above the corrected features: as SDIC does; zeros below."""
        codes = ((latents[:, self.first_row :] - self.w_avg) / self.w_std).clamp(-REACH, REACH)
        change = self.latent(pyramid.encoded, codes) * self.w_std
        return nn.functional.pad(change, (0, 0, self.first_row, 0))

    def evening(self, point: Point) -> Evening:
        made: Evening = self.even[str(point)]  # type: ignore[assignment]
        return made

    def aligner(self, point: Point) -> Aligner:
        made: Aligner = self.align[str(point)]  # type: ignore[assignment]
        return made

    def lacking(self, point: Point, pyramid: Pyramid, evened: Tensor) -> Tensor:
        """The gated residual of one stage, n x C x r x r in evened units, for the feature that arrives there (evened)."""
        if point not in self.active:
            return torch.zeros_like(evened)
        residual: Tensor = self.residual[str(point)](pyramid[point], evened)
        return residual

    @torch.no_grad()
    def calibrate(self, generator: Generator, samples: int = 64, seed: int = 0) -> None:
        """Take the statistics of codes and features from `generator`, over `samples` random faces, in float64."""
        rng = torch.Generator().manual_seed(seed)
        sums = {
            point: [torch.zeros_like(self.evening(point).mean, dtype=torch.float64) for _ in "ab"] for point in POINTS
        }
        for start in range(0, samples, 4):
            z = torch.randn(min(4, samples - start), len(self.w_avg), generator=rng)
            made = generator.features(generator.map(z.to(generator.device)), POINTS)
            for point, (total, squares) in sums.items():
                feature = made[point].double().to(total.device)
                total += feature.mean(dim=(2, 3)).sum(dim=0)
                squares += feature.square().mean(dim=(2, 3)).sum(dim=0)
        for point, (total, squares) in sums.items():
            mean = total / samples
            deviation = (squares / samples - mean.square()).clamp(min=0).sqrt()
            # A channel that hardly lives would be blown up to noise: no deviation below a hundredth of the usual.
            self.evening(point).mean.copy_(mean)
            self.evening(point).std.copy_(deviation.clamp(min=float(deviation.mean()) * 0.01 + 1e-8))
        self.w_avg.copy_(generator.w_avg)
        self.w_std.copy_(generator.w_std.clamp(min=1e-8))


def gra_for(generator: Generator, seed: int = 0, confident: bool = True, attentive: bool = True) -> GRANetwork:
    """A new, calibrated network for `generator`; the same weights for the same seed."""
    channels = [f.shape[1] for f in generator.features(generator.w_avg[None], POINTS).values()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows, dim = generator.num_ws, len(generator.w_avg)
        network = GRANetwork(rows, channels, dim, confident=confident, attentive=attentive)
    network.calibrate(generator)
    return network.to(generator.device)


def take_sdic(network: GRANetwork, tensors: Mapping[str, Tensor]) -> None:
    """Begin where a lean SDIC ends: its hourglass is the pyramid, its feature head the stage at 64 px.

    Raises:
        WeightsError: these are no weights of a lean SDIC with all its parts for the same generator.
    """
    renamed = {}
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        if head in ("map", "encode", "latent", "w_avg", "w_std"):
            renamed[name] = tensor.float()
        elif head == "feature":
            renamed[f"residual.64.{rest}"] = tensor.float()
        else:  # feature_mean, feature_std
            renamed[f"even.64.{name.removeprefix('feature_')}"] = tensor.float()
    try:
        left = network.load_state_dict(renamed, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"these SDIC weights do not fit: {str(error).splitlines()[-1].strip()}") from None
    lacking = [key for key in left.missing_keys if key.startswith(("map", "encode", "latent", "residual.64"))]
    if lacking or left.unexpected_keys:
        raise WeightsError(
            f"these are no weights of a lean SDIC with all its parts ({(lacking + left.unexpected_keys)[0]})"
        )


def load_gra(tensors: Mapping[str, Tensor], num_ws: int = 18) -> GRANetwork:
    """A frozen network in eval mode, float32, on the CPU, from its state dict in any precision.

    Raises:
        WeightsError: these are no weights of a GRA for a generator of `num_ws` rows.
    """
    try:
        channels = [len(tensors[f"even.{point}.mean"]) for point in POINTS]
        rows = tensors["latent.scale"].shape[0]
        network = GRANetwork(num_ws, channels, len(tensors["w_std"]), first_row=num_ws - rows)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"these are no GRA weights for a generator of {num_ws} rows: {reason}") from None
    return network.requires_grad_(False).eval()
