"""Weights and inputs that a name alone decides, so that two programs can compare networks without a checkpoint.

A *manifest* lists every tensor of a checkpoint under the checkpoint's own key:
``{key: {"shape": [...], "dtype": "float32", "mean": m, "std": s, "min": lowest (optional)}}``. A floating tensor is
mean + std * N(0, 1) in float32, its generator (PCG64) seeded with the CRC-32 of the key, clipped below at `min`; an
integer tensor is constant, its rounded mean. The goldens under `data/` were made by the official code of each paper
with weights and inputs from these very rules.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Kind = Literal["normal", "image"]
PREFIX = "CONFORMANCE_PREFIX"  # put before the name of every input: the same tests on goldens of other inputs
WAVES = 12  # per picture channel


def _generator(text: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode("utf-8"))))


def tensor(key: str, spec: Mapping[str, Any]) -> Array:
    """The tensor that the manifest's line `spec` describes for `key`."""
    dtype = np.dtype(spec["dtype"])
    if dtype.kind != "f":
        return np.full(spec["shape"], round(spec["mean"]), dtype)
    drawn = _generator(key).standard_normal(tuple(spec["shape"]), dtype=np.float32)
    drawn *= np.float32(spec["std"])
    drawn += np.float32(spec["mean"])
    if "min" in spec:
        np.maximum(drawn, np.float32(spec["min"]), out=drawn)
    return drawn.astype(dtype, copy=False)


def fill(manifest: Path, prefix: str = "", keep: Callable[[str], bool] = lambda key: True) -> dict[str, Array]:
    """The manifest's tensors by key, in its order.

    Args:
        manifest: path of the JSON file.
        prefix: only keys that start so, and the prefix taken off (values follow the full key).
        keep: asked with the key without prefix; others are not drawn at all (an encoder is a gigabyte).
    """
    lines = json.loads(manifest.read_text(encoding="utf-8"))
    chosen = {key.removeprefix(prefix): key for key in lines if key.startswith(prefix)}
    return {short: tensor(key, lines[key]) for short, key in chosen.items() if keep(short)}


def draw(name: str, shape: tuple[int, ...], kind: Kind = "normal") -> Array:
    """The input called `name`, float32: N(0, 1), or a smooth RGB picture n x c x h x w in [-1, 1]."""
    rng = _generator(f"input:{os.environ.get(PREFIX, '')}{name}")
    if kind == "normal":
        return rng.standard_normal(shape, dtype=np.float32)
    height, width = shape[2:]
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    waves = np.zeros(shape, np.float64)
    for channel in waves.reshape(-1, height, width):
        for _ in range(WAVES):
            # Drawn one by one, in this order: the stream of random numbers is part of the definition.
            vertical = rng.uniform(0.5, 12)
            horizontal = rng.uniform(0.5, 12)
            phase = rng.uniform(0, 6.28)
            strength = rng.uniform(0.1, 1)
            channel += strength * np.sin(6.2831853 * (vertical * y + horizontal * x) + phase)
    return np.tanh(waves / 2).astype(np.float32)
