"""Colours, light and patterns for details that code draws (`pipelines.training.data.occluders`); RGB in [0, 1], H x W x 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

# Skin from very light to very dark, and gloves: hands before real faces have every colour.
_SKINS = np.array([(0.96, 0.82, 0.74), (0.87, 0.66, 0.53), (0.72, 0.50, 0.36), (0.48, 0.31, 0.21), (0.27, 0.17, 0.12)])


def _unit(values: npt.NDArray[Any]) -> Array:
    """Clipped to [0, 1], float32."""
    return np.asarray(np.clip(values, 0, 1), np.float32)


def colour(rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Array:
    """One colour, 3 values in [low, high]."""
    return rng.uniform(low, high, 3).astype(np.float32)


def skin(rng: np.random.Generator) -> Array:
    """One skin colour, 3 values: two of a scale from light to dark, mixed."""
    place = rng.uniform(0, len(_SKINS) - 1)
    low = min(int(place), len(_SKINS) - 2)
    mixed = _SKINS[low] + (place - low) * (_SKINS[low + 1] - _SKINS[low])
    return _unit(mixed * rng.uniform(0.9, 1.1, 3))


def smooth_noise(rng: np.random.Generator, cells: int, side: int) -> Array:
    """side x side in about [-1, 1], waves of about side / cells pixels."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), np.float32)


def ramp(rng: np.random.Generator, side: int, low: float, high: float) -> Array:
    """side x side, a linear gradient in a random direction from `low` to `high`."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    slope = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    share = (slope - slope.min()) / (slope.max() - slope.min())
    return np.asarray(low + (high - low) * share, np.float32)


def _position(rng: np.random.Generator, side: int) -> Array:
    """side x side: a coordinate along a random direction, bent a little."""
    angle = rng.uniform(0, np.pi)
    axis = np.arange(side, dtype=np.float32)
    along = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    return np.asarray(along + rng.uniform(0, 12) * smooth_noise(rng, 5, side), np.float32)


def _stripes(rng: np.random.Generator, side: int) -> Array:
    wave = np.sin(_position(rng, side) * (2 * np.pi / rng.uniform(6, 40)))
    return _unit(wave * rng.uniform(1, 8) * 0.5 + 0.5)


def _checks(rng: np.random.Generator, side: int) -> Array:
    period = 2 * np.pi / rng.uniform(8, 48)
    wave = np.sin(_position(rng, side) * period) * np.sin(_position(rng, side) * period)
    return _unit(wave * rng.uniform(1, 8) + 0.5)


def _clouds(rng: np.random.Generator, side: int) -> Array:
    total = sum(smooth_noise(rng, cells, side) / (i + 1) for i, cells in enumerate((4, 11, 29, 71)))
    return _unit(np.asarray(total) * 0.5 + 0.5)


def _blots(rng: np.random.Generator, side: int) -> Array:
    return _unit(smooth_noise(rng, int(rng.integers(6, 40)), side) * 6 + 0.5)


_PATTERNS = (_stripes, _checks, _clouds, _blots)


def texture(rng: np.random.Generator, side: int) -> Array:
    """side x side x 3: two colours mixed by a pattern, a third by another, under fine grain."""
    share = _PATTERNS[rng.integers(len(_PATTERNS))](rng, side)[..., None]
    made = colour(rng) * share + colour(rng) * (1 - share)
    if rng.random() < 0.5:
        share = _PATTERNS[rng.integers(len(_PATTERNS))](rng, side)[..., None] * rng.uniform(0.2, 0.8)
        made = made * (1 - share) + colour(rng) * share
    grain = rng.uniform(0, 0.06) * rng.standard_normal((side, side, 1), dtype=np.float32)
    return _unit(made + grain)
