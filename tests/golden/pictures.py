"""One photo and what becomes of it, by whole-number arithmetic: the same pixels on every machine; and a drawn network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

U8 = npt.NDArray[np.uint8]
ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
PHOTO = Path(__file__).with_name("astronaut.png")  # scikit-image's `astronaut` (NASA, public domain), 192 px


def photo() -> U8:
    """192 x 192 x 3."""
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def variants(source: U8) -> dict[str, U8]:
    """name -> picture of the same size."""
    wide = source.astype(np.int64)
    places = np.arange(wide.size, dtype=np.int64).reshape(wide.shape)
    noise = (places * 1103515245 + 12345) // 65536 % 41 - 20
    moved = np.roll(wide, (2, 5), (0, 1))
    made = {
        "blurred": _binomial(_binomial(wide)),
        "noisy": wide + noise,
        "flat": wide // 2 + 64,
        "tinted": wide + np.array([12, 0, -8]),
        "moved": moved,
        "doubled": (wide + moved) // 2,
    }
    return {name: np.uint8(np.clip(image, 0, 255)) for name, image in made.items()}


def _binomial(x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Five binomial taps each way, wrapped around."""
    for axis in (0, 1):
        x = (
            sum(weight * np.roll(x, step, axis) for step, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True))
            // 16
        )
    return x


def drawn_alexnet() -> dict[str, torch.Tensor]:
    """AlexNet's five convolutions under torchvision's names, drawn from a fixed seed at the scale of a fresh network."""
    rng = np.random.Generator(np.random.PCG64(11))
    state: dict[str, torch.Tensor] = {}
    for index, (out, channels, side) in ALEXNET.items():
        weight = rng.standard_normal((out, channels, side, side), np.float32) * (channels * side**2 / 2) ** -0.5
        state[f"features.{index}.weight"] = torch.from_numpy(np.float32(weight))
        state[f"features.{index}.bias"] = torch.from_numpy(rng.standard_normal(out, np.float32) * np.float32(0.1))
    return state
