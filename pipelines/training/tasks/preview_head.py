"""Fit the two low-resolution heads of `mobile-ffhq` (`pipelines.models.generators.preview`) to the generator itself.

No photo is needed: pairs of 128 px feature and area-downsampled 1024 px picture are drawn from the generator. Codes
cover what inversion visits (truncation 0.4 to 1, style mixing, per-row offsets), and half of the samples carry a residual
on the 64 px feature, because refiners inject one there and the head must stay true under it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.mobile import PREVIEW_BLOCK, SKETCH_BLOCK, MobileStyleGAN
from pipelines.models.generators.preview import PREVIEW_POINT, SKETCH_POINT, PictureHead
from pipelines.models.generators.w_statistics import w_statistics
from pipelines.stages.published import PREVIEW_ASSET, mobile_tensors
from pipelines.training.data.edit_pairs import draw_codes
from pipelines.training.run import LICENCE, Report, write_asset
from pipelines.training.specs import HeadSpec
from pipelines.types import Point
from pipelines.weights.store import WeightStore

CROP = 48  # side of the training crops on the features
W_SAMPLES, W_CHUNK = 200_000, 10_000  # codes that its statistics come from, and how many are mapped at once


def train(spec: HeadSpec, store: WeightStore, report: Report) -> Path:
    """Fit both heads and the statistics of w; drawing pairs goes on where it stopped."""
    generator = _bare_generator(store)
    statistics = w_statistics(lambda z: generator.map(z.to(generator.device)), 512, W_SAMPLES, W_CHUNK, spec.seed)
    for name, value in statistics.items():
        getattr(generator, name).copy_(value)
    bank = PairBank(spec.output / "pairs", spec.pairs)
    bank.fill(generator, spec.seed, report)
    figures: dict[str, dict[str, float]] = {}
    state: dict[str, Tensor] = {}
    counts = spec.sketch_steps, spec.steps
    for name, head, count in zip(("sketch", "preview"), heads(generator), counts, strict=True):
        torch.manual_seed(spec.seed)
        figures[name] = fit_head(generator, head, bank, count, report, seed=spec.seed)
        state |= {f"{name}_head.{k}": v.half() for k, v in head.net.state_dict().items()}
    options = f"--pairs {spec.pairs} --sketch-steps {spec.sketch_steps} --steps {spec.steps} --seed {spec.seed}"
    card = {
        "name": PREVIEW_ASSET,
        "what": "256 px image head on the 128 px features of mobile-ffhq (preview), 128 px head on its 64 px features "
        "(sketch); mean, deviation and whitening matrix of its w",
        "data": f"{spec.pairs} generated faces (no photos), half of them untruncated, 24 held out",
        "command": f"ganinv train head {options}",
        "figures": figures,
        "licence": LICENCE,
    }
    return write_asset(spec.output, PREVIEW_ASSET, state | statistics, card)


def _bare_generator(store: WeightStore) -> MobileStyleGAN:
    """`mobile-ffhq` without its preview head and statistics of w: what the archive alone gives."""
    generator = MobileStyleGAN()
    generator.load_state_dict(mobile_tensors(store), strict=False)
    return generator


def draw_residual(generator: MobileStyleGAN, feature: Tensor, rng: torch.Generator) -> Tensor:
    """A residual such as a refiner finds: another face's feature, faded in under a smooth mask, plus fine grain."""
    other = generator.features(draw_codes(generator, rng), (64,))[64]
    blobs = torch.randn(1, 1, 6, 6, generator=rng)
    mask = torch.sigmoid(3 * F.interpolate(blobs, (64, 64), mode="bicubic"))
    strength = float(torch.rand(1, generator=rng))
    grain = 0.3 * float(torch.rand(1, generator=rng)) * feature.std() * torch.randn(feature.shape, generator=rng)
    return strength * mask * (other - feature) + grain


@torch.no_grad()
def draw_pair(generator: MobileStyleGAN, rng: torch.Generator) -> tuple[dict[Point, Tensor], Tensor, Tensor]:
    """(features at both heads' points, codes, 256 px picture) of one generated face."""
    codes = draw_codes(generator, rng)
    inject: dict[Point, Tensor] = {}
    if torch.rand(1, generator=rng) < 0.5:
        feature = generator.features(codes, (64,))[64]
        inject = {64: feature + draw_residual(generator, feature, rng)}
    made = generator.synthesize(codes, inject=inject, collect=(SKETCH_POINT, PREVIEW_POINT))
    return made.features, codes, F.avg_pool2d(made.image, generator.resolution // 256)


class PairBank:
    """Pairs on disk in half precision, drawn once and then sampled as random crops; resumes where it stopped."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.count = count
        self._counter = folder / "drawn.json"
        self.drawn = json.loads(self._counter.read_text()) if self._counter.exists() else 0
        self.features: dict[Point, np.memmap] = {
            SKETCH_POINT: self._open(folder / "features-64b.f16", (count, 512, 64, 64)),
            PREVIEW_POINT: self._open(folder / "features-128b.f16", (count, 256, 128, 128)),
        }
        self.codes = self._open(folder / "codes.f16", (count, 18, 512))
        self.images = self._open(folder / "images.f16", (count, 3, 256, 256))

    @staticmethod
    def _open(path: Path, shape: tuple[int, ...]) -> np.memmap:
        return np.memmap(path, dtype=np.float16, mode="r+" if path.exists() else "w+", shape=shape)

    def fill(self, generator: MobileStyleGAN, seed: int, report: Report) -> None:
        for i in range(self.drawn, self.count):
            # Seeded per sample, so that a resumed bank equals an undisturbed one.
            features, codes, image = draw_pair(generator, torch.Generator().manual_seed(seed * 1_000_003 + i))
            for point, bank in self.features.items():
                bank[i] = features[point][0].half().numpy()
            self.codes[i], self.images[i] = codes[0].half().numpy(), image[0].half().numpy()
            self.drawn = i + 1
            if self.drawn % 20 == 0 or self.drawn == self.count:
                self._counter.write_text(json.dumps(self.drawn))
                report({"drawn": self.drawn, "of": self.count})

    def crops(self, head: Head, batch: int, lo: int, hi: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """`batch` random crops of the pairs lo..hi-1: features, codes, pictures of twice the features' side (float32)."""
        bank, features, codes, images = self.features[head.point], [], [], []
        side, scale = bank.shape[2], 256 // bank.shape[2]
        for i in rng.integers(lo, hi, batch):
            y, x = rng.integers(0, side - CROP + 1, 2)
            features.append(bank[i, :, y : y + CROP, x : x + CROP])
            codes.append(self.codes[i])
            images.append(self.images[i, :, scale * y : scale * (y + CROP), scale * x : scale * (x + CROP)])
        f, c, m = (torch.from_numpy(np.stack(part)).float() for part in (features, codes, images))
        return f.contiguous(memory_format=torch.channels_last), c, F.avg_pool2d(m, scale // 2)


class Head(NamedTuple):
    """One of the two heads and where it looks."""

    point: Point
    block: int
    net: PictureHead
    picture: Callable[[Tensor, Tensor], Tensor]


def heads(generator: MobileStyleGAN) -> tuple[Head, Head]:
    """The 128 px head ("sketch") and the 256 px head ("preview") of `generator`."""
    sketch = Head(SKETCH_POINT, SKETCH_BLOCK, generator.sketch_head, generator.sketch_from)
    return sketch, Head(PREVIEW_POINT, PREVIEW_BLOCK, generator.preview_head, generator.preview_from)


@torch.no_grad()
def even_out(generator: MobileStyleGAN, head: Head, bank: PairBank, rng: np.random.Generator, held_out: int) -> None:
    """Set the head's fixed scales: of what it reads, and of the styles above it."""
    feature, codes, _ = bank.crops(head, 32, held_out, bank.count, rng)
    read, _ = generator.styles_above(codes, head.block)
    head.net.scale.copy_(1 / (feature * read[:, :, None, None]).std(dim=(0, 2, 3)))
    _, styles = generator.styles_above(torch.from_numpy(bank.codes[held_out:]).float(), head.block)
    head.net.centre.copy_(styles.mean(0))
    head.net.spread.copy_(styles.std(0).clamp(min=1e-4))


def fit_head(
    generator: MobileStyleGAN,
    head: Head,
    bank: PairBank,
    steps: int,
    report: Report,
    batch: int = 8,
    lr: float = 3e-3,
    held_out: int = 24,
    seed: int = 0,
) -> dict[str, float]:
    """Fit one head in place; returns the held-out PSNR in dB (peak 2 on [-1, 1]), mean and worst."""
    net = head.net.requires_grad_(True)
    rng = np.random.default_rng(seed)
    even_out(generator, head, bank, rng, held_out)
    styles = [p for n, p in net.named_parameters() if "styles" in n or "neck" in n]
    others = [p for n, p in net.named_parameters() if "styles" not in n and "neck" not in n]
    # A style layer moves its output far more per step, and learns the few codes by heart unless its weights decay.
    groups: list[dict[str, Any]] = [{"params": others}, {"params": styles, "weight_decay": 0.3}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [lr, lr / 6], total_steps=steps, pct_start=0.05)
    started = time.monotonic()
    for step in range(1, steps + 1):
        feature, codes, image = bank.crops(head, batch, held_out, bank.count, rng)
        loss = F.mse_loss(head.picture(feature, codes), image)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            psnr = held_out_psnr(head, bank, held_out)
            report({"step": step, "loss": loss.item(), "psnr": float(psnr.mean()), "s": time.monotonic() - started})
    net.requires_grad_(False)
    psnr = held_out_psnr(head, bank, held_out)
    return {"psnr_mean": float(psnr.mean()), "psnr_min": float(psnr.min()), "held_out": held_out}


@torch.no_grad()
def held_out_psnr(head: Head, bank: PairBank, count: int) -> Tensor:
    """PSNR in dB of each of the first `count` pairs, which `fit_head` never trains on."""
    values = []
    for i in range(count):
        feature, codes, image = (
            torch.from_numpy(a[i : i + 1]).float() for a in (bank.features[head.point], bank.codes, bank.images)
        )
        feature = feature.contiguous(memory_format=torch.channels_last)
        made = head.picture(feature, codes)
        error = F.mse_loss(made, F.adaptive_avg_pool2d(image, made.shape[2]))
        values.append(10 * torch.log10(4 / error))
    return torch.stack(values)
