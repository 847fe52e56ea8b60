"""Makes `stlpips.npz`: distances of the authors' own ST-LPIPS code on deterministic inputs.

Run by hand: ``python -m tests.golden.make_stlpips FOLDER``, FOLDER being the unpacked wheel ``stlpips_pytorch`` 0.0.2
from the package index (its code runs). Two weight sets per network: the authors' own, and one drawn by `filled`, so
that the architecture is tested without any download.
"""

from __future__ import annotations

import sys
import types
import zlib
from pathlib import Path

import numpy as np
import torch

SIZES = ((64, 64), (61, 83), (96, 70))  # odd and even sides: the blurred layers treat their borders differently
ALEX = {"slice1.0": (64, 3, 11), "slice2.5": (192, 64, 5), "slice3.9": (384, 192, 3), "slice4.11": (256, 384, 3)}
ALEX |= {"slice5.13": (256, 256, 3)}
VGG = {"slice1.0": (64, 3, 3), "slice1.2": (64, 64, 3), "slice2.6": (128, 64, 3), "slice2.8": (128, 128, 3)}
VGG |= {"slice3.12": (256, 128, 3), "slice3.14": (256, 256, 3), "slice3.16": (256, 256, 3)}
VGG |= {"slice4.20": (512, 256, 3), "slice4.22": (512, 512, 3), "slice4.24": (512, 512, 3)}
VGG |= {"slice5.28": (512, 512, 3), "slice5.30": (512, 512, 3), "slice5.32": (512, 512, 3)}
CONVS = {"alex": ALEX, "vgg": VGG}
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def inputs(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pairs of pictures n x 3 x H x W in [-1, 1]: waves, and the same ones moved, tinted and with noise."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    rng = np.random.Generator(np.random.PCG64(7))

    def waves(shift: float) -> np.ndarray:
        channels = [np.sin(0.11 * (c + 1) * (x + shift) + 0.23 * y) + np.cos(0.31 * y - 0.07 * c * x) for c in range(3)]
        return np.stack(channels) / 2

    first = np.stack([waves(0), rng.uniform(-1, 1, (3, *size))])
    second = np.stack([waves(1.5) * 0.9, first[1] * 0.7])
    second = np.clip(second + rng.normal(0, 0.1, second.shape), -1, 1)
    return torch.from_numpy(first).float(), torch.from_numpy(second).float()


def filled(net: str) -> dict[str, torch.Tensor]:
    """A state dict under the authors' key names, every tensor drawn from a generator seeded by its key."""

    def draw(key: str, shape: tuple[int, ...], std: float) -> torch.Tensor:
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{net}.{key}".encode())))
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * np.float32(std))

    state: dict[str, torch.Tensor] = {}
    for key, (out, channels, side) in CONVS[net].items():
        state[f"net.{key}.weight"] = draw(
            f"{key}.weight", (out, channels, side, side), (channels * side**2 / 2) ** -0.5
        )
        state[f"net.{key}.bias"] = draw(f"{key}.bias", (out,), 0.1)
    for index, channels in enumerate(HEADS[net]):
        state[f"lin{index}.model.1.weight"] = draw(f"lin{index}", (1, channels, 1, 1), 1).abs()
    return state


def main(folder: Path) -> None:
    for name in ("IPython", "torchsummary"):  # imported by the package for debugging only
        stand_in = types.ModuleType(name)
        stand_in.__dict__.update(embed=None, summary=None)
        sys.modules[name] = stand_in
    sys.path.insert(0, str(folder))
    from stlpips_pytorch import stlpips  # type: ignore[import-not-found]

    arrays: dict[str, np.ndarray] = {}
    for net in ("alex", "vgg"):
        model = stlpips.LPIPS(net=net, variant="shift_tolerant", verbose=False)
        for kind in ("authors", "filled"):
            if kind == "filled":
                missing = model.load_state_dict(filled(net), strict=False).missing_keys
                assert all("filt" in key or "scaling" in key or key.startswith("lins.") for key in missing), missing
            for size in SIZES:
                with torch.no_grad():
                    arrays[f"{net}.{kind}.{size[0]}x{size[1]}"] = model(*inputs(size)).flatten().numpy()
    np.savez(Path(__file__).parent / "stlpips.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
