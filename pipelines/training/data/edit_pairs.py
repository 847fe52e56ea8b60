"""Generated faces to train on: codes, and pairs before and after an edit that carry the same pasted detail.

A photo has no picture of how it ought to look under an edit; a generated face has, G(w + d). Both pictures get the same
detail from outside the generator's world (`pipelines.training.data.occluders`), so that a compensator learns to keep it through
the edit. SDIC (arXiv 2312.07079) trains on inversions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.training.data.occluders import KINDS, STILL_KINDS, Detail, draw_detail, paste
from pipelines.types import Generator

TURNS = ("yaw", "pitch")  # edits that turn the head; what sits on it would have to turn along
SHARED_ROWS = 8  # rows 0 to 7, below the 64 px feature


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn.

    Attributes:
        edits: names of directions.
        strength: largest strength, in the direction's unit; each pair's is uniform in +- that.
        kinds, most: details, as `pipelines.training.data.occluders.draw_detail` takes them.
        plain: share of pairs without any detail, which have nothing to keep but the encoder's error.
        psi: truncation, uniform in this range.
        noise: largest deviation of the codes' error, in units of w's deviation; uniform from 0 for each pair.
        pulled: largest share by which a pair's codes err towards another face's; uniform from 0 for each pair.
        full: pictures from whole synthesis instead of the generator's cheap head.
    """

    edits: tuple[str, ...] = ("smile", "age")
    strength: float = 2.0
    kinds: tuple[str, ...] = KINDS
    most: int = 3
    plain: float = 0.15
    psi: tuple[float, float] = (0.5, 1.0)
    noise: float = 0.35
    pulled: float = 0.0
    full: bool = False


@dataclass(frozen=True)
class EditPairs:
    """n pairs.

    Attributes:
        source: n x 3 x 256 x 256 in [-1, 1], RGB: G(w) with its detail.
        codes: n x L x 512: w with an error such as encoders make; what a network is given.
        edited: n x L x 512: `codes` plus the edit.
        target: n x 3 x 256 x 256: G(w + edit) with the same detail.
        mask: n x 1 x 256 x 256 in [0, 1], where the detail decides the picture.
        terms: what the edit was, one (name, strength) per pair.
        kinds: what the detail was, per pair; empty where there is none.
    """

    source: Tensor
    codes: Tensor
    edited: Tensor
    target: Tensor
    mask: Tensor
    terms: tuple[tuple[str, float], ...]
    kinds: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pair:
    """What a seed says of a pair: the codes, their error, and the edit (name, strength)."""

    w: Tensor  # L x 512, with truncation
    error: Tensor  # L x 512
    term: tuple[str, float]


@torch.no_grad()
def draw_edit_pairs(
    generator: Generator, directions: DirectionSet, seeds: Sequence[int], settings: PairSettings | None = None
) -> EditPairs:
    """One pair per seed, on the generator's device; a pair is decided by its seed and the settings alone.

    Raises:
        UsageError: `settings.edits` names an unknown direction.
    """
    settings = settings or PairSettings()
    pairs = [draw_pair(generator, seed, settings) for seed in seeds]
    w = torch.stack([pair.w for pair in pairs])
    change = torch.cat([directions.apply(torch.zeros_like(w[:1]), [pair.term]) for pair in pairs])
    codes = w + torch.stack([pair.error for pair in pairs])
    before, after = (_pictures(generator, rows, settings.full) for rows in (w, w + change))
    mask, kinds = before.new_zeros(len(before), 1, *before.shape[2:]), []
    for i, (seed, pair) in enumerate(zip(seeds, pairs, strict=True)):
        kinds.append(_decorate(seed, pair.term[0], settings, before[i : i + 1], after[i : i + 1], mask[i : i + 1]))
    return EditPairs(before, codes, codes + change, after, mask, tuple(p.term for p in pairs), tuple(kinds))


def draw_pair(generator: Generator, seed: int, settings: PairSettings) -> Pair:
    """Drawn on the host, so that a seed means the same face on every device."""
    rng = torch.Generator().manual_seed(seed)
    low, high = settings.psi
    z = torch.randn(1, len(generator.w_avg), generator=rng).to(generator.device)
    share, deviation, edit, strength = torch.rand(4, generator=rng).tolist()
    error = torch.randn(generator.num_ws, len(generator.w_avg), generator=rng)
    # Encoders err mostly alike in all lower rows (W more than W+), and freely above.
    error[:SHARED_ROWS] = 0.8 * error[:1] + 0.6 * error[:SHARED_ROWS]
    psi = low + (high - low) * share
    w = generator.w_avg + psi * (generator.map(z)[0] - generator.w_avg)
    scaled = error.to(w) * generator.w_std * (deviation * settings.noise)
    name = settings.edits[min(int(edit * len(settings.edits)), len(settings.edits) - 1)]
    term = (name, (2 * strength - 1) * settings.strength)
    if settings.pulled:
        other = generator.map(torch.randn(1, len(generator.w_avg), generator=rng).to(generator.device))[0]
        scaled = scaled + float(torch.rand(1, generator=rng)) * settings.pulled * (other - w)
    return Pair(w.unsqueeze(0).repeat(generator.num_ws, 1), scaled, term)


def _pictures(generator: Generator, codes: Tensor, full: bool) -> Tensor:
    """n x 3 x 256 x 256, clamped to [-1, 1] as a photo is."""
    made = generator.synthesize(codes) if full else generator.preview(codes)
    return resize_area(made.image, 256).clamp(-1, 1)


def _decorate(
    seed: int, edit: str, settings: PairSettings, before: Tensor, after: Tensor, mask: Tensor
) -> tuple[str, ...]:
    """Paste one pair's detail into both pictures, in place; returns its kinds."""
    detail = pair_detail(seed, edit, settings)
    if detail is None:
        return ()
    before[:], mask[:] = paste(before, [detail])
    after[:], _ = paste(after, [detail])
    return detail.kinds


def pair_detail(seed: int, edit: str, settings: PairSettings) -> Detail | None:
    """What both pictures of a pair carry; None: nothing."""
    if np.random.default_rng((seed, 1)).random() < settings.plain:
        return None
    kinds = settings.kinds
    if edit.split("@")[0] in TURNS:
        kinds = tuple(kind for kind in kinds if kind in STILL_KINDS)
    return draw_detail(seed, kinds, settings.most) if kinds else None


def draw_codes(generator: Generator, rng: torch.Generator) -> Tensor:
    """One W+ code, 1 x L x dim (512): truncation 0.4 to 1 (half of them 1), half mixed, four in ten with per-row noise."""
    pair = generator.map(torch.randn(2, generator.w_avg.numel(), generator=rng).to(generator.device))
    # Half of the codes are untruncated: those are the hardest, and optimisers visit them.
    psi = (0.4 + 1.2 * torch.rand(2, 1, generator=rng)).clamp(max=1.0).to(pair)
    pair = generator.w_avg + psi * (pair - generator.w_avg)
    rows = pair[:1].unsqueeze(1).repeat(1, generator.num_ws, 1)
    kind = torch.rand(3, generator=rng)
    if kind[0] < 0.5:
        cut = int(torch.randint(1, generator.num_ws, (1,), generator=rng))
        rows[:, cut:] = pair[1]
    if kind[1] < 0.4:
        scale = 0.3 * float(torch.rand(1, generator=rng))
        rows = rows + scale * generator.w_std * torch.randn(rows.shape, generator=rng).to(pair)
    return rows
