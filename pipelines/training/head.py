"""Fit the low-resolution head of `mobile-ffhq` (`pipelines.models.preview`) to the generator itself.

No photo is needed: pairs of 128 px feature and area-downsampled 1024 px picture are drawn from the generator. Codes
cover what inversion visits (truncation 0.4 to 1, style mixing, per-row offsets), and half of the samples carry a residual
on the 64 px feature, because refiners inject one there and the head must stay true under it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.mobile import MobileStyleGAN
from pipelines.models.preview import PREVIEW_POINT
from pipelines.types import Point

CROP = 64  # side of the training crops on the 128 px feature


@torch.no_grad()
def w_statistics(generator: MobileStyleGAN, samples: int = 200_000, seed: int = 0) -> dict[str, Tensor]:
    """Mean, standard deviation and whitening matrix of w over `samples` normal z, accumulated in float64."""
    rng = torch.Generator().manual_seed(seed)
    total = torch.zeros(512, dtype=torch.float64)
    products = torch.zeros(512, 512, dtype=torch.float64)
    for start in range(0, samples, 10_000):
        count = min(10_000, samples - start)
        w = generator.map(torch.randn(count, 512, generator=rng).to(generator.device)).double().cpu()
        total += w.sum(0)
        products += w.T @ w
    mean = total / samples
    covariance = products / samples - torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(covariance)
    # Directions in which w hardly moves would count as infinitely far: floor the spectrum at a millionth of its top.
    whiten = vectors / values.clamp(min=float(values[-1]) * 1e-6).sqrt()
    return {
        "w_avg": mean.float(),
        "w_std": covariance.diagonal().sqrt().float(),
        "w_whiten": whiten.float().contiguous(),
    }


def draw_codes(generator: MobileStyleGAN, rng: torch.Generator) -> Tensor:
    """One W+ code, 1 x 18 x 512, from the wide distribution that the head is fitted on."""
    pair = generator.map(torch.randn(2, 512, generator=rng))
    psi = 0.4 + 0.6 * torch.rand(2, 1, generator=rng)
    pair = generator.w_avg + psi * (pair - generator.w_avg)
    rows = pair[:1].unsqueeze(1).repeat(1, generator.num_ws, 1)
    kind = torch.rand(3, generator=rng)
    if kind[0] < 0.5:
        cut = int(torch.randint(1, generator.num_ws, (1,), generator=rng))
        rows[:, cut:] = pair[1]
    if kind[1] < 0.4:
        scale = 0.3 * float(torch.rand(1, generator=rng))
        rows = rows + scale * generator.w_std * torch.randn(rows.shape, generator=rng)
    return rows


def draw_residual(generator: MobileStyleGAN, feature: Tensor, rng: torch.Generator) -> Tensor:
    """A residual such as a refiner finds: another face's feature, faded in under a smooth mask, plus fine grain."""
    other = generator.preview(draw_codes(generator, rng), collect=(64,)).features[64]
    blobs = torch.randn(1, 1, 6, 6, generator=rng)
    mask = torch.sigmoid(3 * F.interpolate(blobs, (64, 64), mode="bicubic"))
    strength = float(torch.rand(1, generator=rng))
    grain = 0.3 * float(torch.rand(1, generator=rng)) * feature.std() * torch.randn(feature.shape, generator=rng)
    return strength * mask * (other - feature) + grain


@torch.no_grad()
def draw_pair(generator: MobileStyleGAN, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(128 px feature, codes, 256 px picture) of one generated face."""
    codes = draw_codes(generator, rng)
    inject: dict[Point, Tensor] = {}
    if torch.rand(1, generator=rng) < 0.5:
        feature = generator.preview(codes, collect=(64,)).features[64]
        inject = {64: feature + draw_residual(generator, feature, rng)}
    made = generator.synthesize(codes, inject=inject, collect=(PREVIEW_POINT,))
    return made.features[PREVIEW_POINT], codes, F.avg_pool2d(made.image, generator.resolution // 256)


class PairBank:
    """Pairs on disk in half precision, drawn once and then sampled as random crops; resumes where it stopped."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.count = count
        self._counter = folder / "drawn.json"
        self.drawn = json.loads(self._counter.read_text()) if self._counter.exists() else 0
        self.features = self._open(folder / "features.f16", (count, 256, 128, 128))
        self.codes = self._open(folder / "codes.f16", (count, 18, 512))
        self.images = self._open(folder / "images.f16", (count, 3, 256, 256))

    @staticmethod
    def _open(path: Path, shape: tuple[int, ...]) -> np.memmap:
        return np.memmap(path, dtype=np.float16, mode="r+" if path.exists() else "w+", shape=shape)

    def fill(self, generator: MobileStyleGAN, seed: int, report: Callable[[dict[str, float]], None]) -> None:
        for i in range(self.drawn, self.count):
            # Seeded per sample, so that a resumed bank equals an undisturbed one.
            feature, codes, image = draw_pair(generator, torch.Generator().manual_seed(seed * 1_000_003 + i))
            for bank, value in ((self.features, feature), (self.codes, codes), (self.images, image)):
                bank[i] = value[0].half().numpy()
            self.drawn = i + 1
            if self.drawn % 20 == 0 or self.drawn == self.count:
                self._counter.write_text(json.dumps(self.drawn))
                report({"drawn": self.drawn, "of": self.count})

    def crops(self, batch: int, lo: int, hi: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """`batch` random crops of the pairs lo..hi-1: features, codes, pictures (float32)."""
        features, codes, images = [], [], []
        for i in rng.integers(lo, hi, batch):
            y, x = rng.integers(0, 128 - CROP + 1, 2)
            features.append(self.features[i, :, y : y + CROP, x : x + CROP])
            codes.append(self.codes[i])
            images.append(self.images[i, :, 2 * y : 2 * (y + CROP), 2 * x : 2 * (x + CROP)])
        f, c, m = (torch.from_numpy(np.stack(part)).float() for part in (features, codes, images))
        return f.contiguous(memory_format=torch.channels_last), c, m


def fit_head(
    generator: MobileStyleGAN,
    bank: PairBank,
    steps: int,
    report: Callable[[dict[str, float]], None],
    batch: int = 8,
    lr: float = 3e-3,
    held_out: int = 24,
    seed: int = 0,
) -> dict[str, float]:
    """Fit `generator.preview_head` in place; returns the held-out PSNR in dB (peak 2 on [-1, 1]) and its spread."""
    head = generator.preview_head.requires_grad_(True)
    rng = np.random.default_rng(seed)
    feature, codes, _ = bank.crops(32, held_out, bank.count, rng)
    with torch.no_grad():
        read = feature * generator.next_style(codes)[:, :, None, None]
        head.scale.copy_(1 / read.std(dim=(0, 2, 3)))
    styles, others = list(head.styles.parameters()), [p for n, p in head.named_parameters() if "styles" not in n]
    # A style layer sums 2,560 inputs: the same step size there moves its output far more, and it learns the few codes by
    # heart unless its weights decay.
    groups: list[dict[str, Any]] = [{"params": others}, {"params": styles, "weight_decay": 0.5}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [lr, lr / 30], total_steps=steps, pct_start=0.05)
    started = time.monotonic()
    for step in range(1, steps + 1):
        feature, codes, image = bank.crops(batch, held_out, bank.count, rng)
        loss = F.mse_loss(generator.preview_from(feature, codes), image)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            psnr = held_out_psnr(generator, bank, held_out)
            report({"step": step, "loss": loss.item(), "psnr": float(psnr.mean()), "s": time.monotonic() - started})
    head.requires_grad_(False)
    psnr = held_out_psnr(generator, bank, held_out)
    return {"psnr_mean": float(psnr.mean()), "psnr_min": float(psnr.min()), "held_out": held_out}


@torch.no_grad()
def held_out_psnr(generator: MobileStyleGAN, bank: PairBank, count: int) -> Tensor:
    """PSNR in dB of each of the first `count` pairs, which `fit_head` never trains on."""
    values = []
    for i in range(count):
        feature, codes, image = (
            torch.from_numpy(a[i : i + 1]).float() for a in (bank.features, bank.codes, bank.images)
        )
        error = F.mse_loss(generator.preview_from(feature, codes), image)
        values.append(10 * torch.log10(4 / error))
    return torch.stack(values)
