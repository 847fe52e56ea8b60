"""Global alignment of one stage: the residual of the source, brought to where the edited feature wants it.

The modules' names and roles are those of Li et al. (arXiv 2402.14398): selective attention finds the position, a confidence the
quantity, gate and fusion the rest. Their inside is ours (docs/gra.md). Features come evened, in units of their channels'
deviation. Where the edited feature equals the source's, the residual stays as it is to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.gra.attention import Match, Scale, match, mix, search, tokens
from pipelines.models.sdic.lean import Residual, act, conv

WIDTH = 64  # of queries and keys
FUSED = 96
STILL = 0.02  # mean squared departure, in deviations, at which a residual leaves its place by 1 - 1/e


@dataclass(frozen=True)
class Source:
    """One stage of the unedited face, found once per photo; all n x . x r x r.

    Attributes:
        feature: as it arrives at the stage, corrected by the stages below, evened.
        key: what the search compares.
        residual: what the stage adds, in units of the feature's deviation.
    """

    feature: Tensor
    key: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Aligned:
    """A residual n x C x r x r for the edited feature (evened units), what was matched, and the confidence n x 1 x r x r."""

    residual: Tensor
    match: Match
    confidence: Tensor


class Look(nn.Module):
    """An evened feature -> what is compared: n x C x r x r -> n x 64 x r x r. Near features have near keys from the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.read = conv(channels, WIDTH, 1)
        self.around = conv(WIDTH, WIDTH, zero=True)

    def forward(self, feature: Tensor) -> Tensor:
        # Normed place by place, so that an edit's change of light or colour does not spoil the comparison.
        normed = F.layer_norm(feature.permute(0, 2, 3, 1), (self.channels,)).permute(0, 3, 1, 2)
        x = self.read(normed)
        result: Tensor = x + self.around(act(x))
        return result


class Fusion(nn.Module):
    """Gate and offset of an aligned residual: g * A + c, with g near 1 and c 0 at first."""

    def __init__(self, channels: int, read: int = 48) -> None:
        super().__init__()
        self.edited, self.source, self.aligned = (conv(channels, read, 1) for _ in range(3))
        self.mix = conv(3 * read + 1, FUSED)
        self.work = Residual(FUSED)
        self.gate = conv(FUSED, channels, 1, zero=True)
        self.offset = conv(FUSED, channels, 1, zero=True)
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, 2.0)

    def forward(self, edited: Tensor, source: Tensor, aligned: Tensor, confidence: Tensor) -> Tensor:
        seen = torch.cat((self.edited(edited), self.source(source), self.aligned(aligned)), dim=1)
        x = act(self.work(self.mix(torch.cat((act(seen), confidence), dim=1))))
        result: Tensor = torch.sigmoid(self.gate(x)) * aligned + self.offset(x)
        return result


class Aligner(nn.Module):
    """Selective attention, confidence, gate and fusion of the stage of `side` px.

    Args:
        channels: of the stage's feature.
        keep: places that a query selects.
        confident: ablation: whether the confidence scales the residual.
        attentive: ablation: whether the residual is moved, or left to gate and fusion where it was.
    """

    def __init__(self, channels: int, side: int, keep: int, confident: bool = True, attentive: bool = True) -> None:
        super().__init__()
        self.keep, self.confident, self.attentive = keep, confident, attentive
        self.query, self.key = Look(channels), Look(channels)
        self.key.load_state_dict(self.query.state_dict())
        self.sharpness = nn.Parameter(torch.tensor(math.log(30.0)))
        self.stiffness = nn.Parameter(torch.tensor(math.log(32.0 / side**2)))
        self.slope, self.threshold = nn.Parameter(torch.tensor(12.0)), nn.Parameter(torch.tensor(0.6))
        self.fusion = Fusion(channels)

    @property
    def scale(self) -> Scale:
        return Scale(self.sharpness.exp(), self.stiffness.exp())

    def source(self, feature: Tensor, residual: Tensor) -> Source:
        """What edits need of the unedited face; both n x C x r x r, evened units."""
        return Source(feature, self.key(feature), residual)

    def forward(
        self, edited: Tensor, source: Source, parents: Tensor | None = None, keep: int | None = None
    ) -> Aligned:
        """Align to `edited` n x C x r x r (evened), near what the stage below chose.

        Args:
            parents: n x (r r / 4) x k; None: dense, every place is a candidate.
            keep: places to select, in the stead of the stage's own number.
        """
        query, key = tokens(self.query(edited)), tokens(source.key)
        index = search(query, key, self.scale, keep or self.keep, parents)
        found = match(query, key, self.scale, index)
        trust = (
            torch.sigmoid(self.slope * (found.likeness - self.threshold)).unflatten(1, edited.shape[2:]).unsqueeze(1)
        )
        moved = mix(found, source.residual) if self.attentive else source.residual
        if self.confident:
            moved = trust * moved
        fused = self.fusion(edited, source.feature, moved, trust)
        residual = source.residual + departed(edited, source.feature) * (fused - source.residual)
        return Aligned(residual, found, trust)


def departed(edited: Tensor, source: Tensor) -> Tensor:
    """How far the edit moved each place, n x 1 x r x r in [0, 1): 0 where both features n x C x r x r are equal."""
    departure = (edited - source).square().mean(dim=1, keepdim=True)
    departure = F.avg_pool2d(F.pad(departure, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return 1 - torch.exp(-departure / STILL)
