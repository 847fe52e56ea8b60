"""Small stand-ins: pictures made by formula, landmarks that need no detector, a store that holds what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from pipelines.errors import WeightsError
from pipelines.metrics.faces import Faces, Picture
from pipelines.types import F32Array, U8Image

CPU = torch.device("cpu")


def picture(seed: int, size: int = 256) -> U8Image:
    """A smooth colourful pattern, another one for each seed; never nearly black."""
    ramp = np.linspace(0, 2 * np.pi, size)
    phase = np.random.default_rng(seed).uniform(0, 6, (3, 2))
    planes = [np.sin(ramp[:, None] * 2 + a) * np.cos(ramp[None] * 3 + b) for a, b in phase]
    return np.uint8(128 + 100 * np.stack(planes, axis=2))


def noisy(image: U8Image, amount: float, seed: int = 0) -> U8Image:
    """The picture plus normal noise of `amount` grey levels."""
    noise = np.random.default_rng(seed).normal(0, amount, image.shape)
    return np.uint8(np.clip(image + noise, 0, 255))


def black(size: int = 256) -> U8Image:
    """What `locate` takes for a picture without a face."""
    return np.zeros((size, size, 3), np.uint8)


def locate(image: U8Image) -> F32Array:
    """A ring of 68 points around the middle, a little to the right in brighter pictures; NaN in a black one."""
    if not image.any():
        return np.full((68, 2), np.nan, np.float32)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    centre = 0.5 + float(image.mean()) / 10000
    return np.float32(np.stack([centre + 0.2 * np.cos(angle), 0.5 + 0.2 * np.sin(angle)], axis=1))


def faces(
    images: Sequence[U8Image], fallback: Faces | None = None, find: Callable[[U8Image], F32Array] = locate
) -> Faces:
    return Faces([Picture.of(image) for image in images], CPU, find, fallback)


class FakeStore:
    """A weight store that has the named entries and can fetch nothing else."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        self.config: Any = SimpleNamespace(offline=False)

    def have(self, name: str) -> bool:
        return name in self.names

    def path(self, name: str) -> Path:
        self.asked.append(name)
        if name not in self.names:
            raise WeightsError(f"{name} cannot be had")
        return Path(name)
