"""Directions that a user brings, in the file formats of the field.

- ``.npy``, ``.pt``, ``.safetensors`` with one vector: 512, 1 x 512, L x 512 or 1 x L x 512 (InterFaceGAN's age, smile, pose).
  It is called like its file.
- A file with several named vectors gives directions ``FILE.NAME``.
- GANSpace's PCA (``lat_mean``/``lat_comp``/``lat_std`` or ``mean``/``comp``/``std``): components ``FILE.0``, ``FILE.1``, ...;
  one unit is one standard deviation of the component. Rows: ``FILE.10@7-8``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.errors import GanInvError, UsageError
from pipelines.stages.edit.direction_set import Direction
from pipelines.weights.checkpoints.read import read_checkpoint

_PCA = (("lat_mean", "lat_comp", "lat_std"), ("mean", "comp", "std"), ("act_mean", "act_comp", "act_stdev"))


def read_directions(path: Path, num_ws: int) -> list[Direction]:
    """All directions in a file, as L x 512 vectors.

    Raises:
        UsageError: the file is absent, of another format, or its shapes do not fit a generator of `num_ws` rows.
    """
    tensors = _tensors(path)
    for names in _PCA:
        if all(name in tensors for name in names[1:]):
            return _components(path, tensors[names[1]], tensors[names[2]], num_ws)
    if len(tensors) == 1:
        return [_direction(path.stem, next(iter(tensors.values())), path, num_ws)]
    return [_direction(f"{path.stem}.{name}", tensor, path, num_ws) for name, tensor in tensors.items()]


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"direction file {path} does not exist")
    try:
        if path.suffix == ".npy":
            return {"vector": _real(torch.from_numpy(np.load(path, allow_pickle=False)))}
        if path.suffix == ".safetensors":
            return {name: _real(tensor) for name, tensor in load_file(path).items()}
        if path.suffix in {".pt", ".pth"}:
            return _plain(read_checkpoint(path), path)
    except GanInvError:
        raise
    except Exception as error:  # readers of broken files raise anything, from EOFError to tokenize's own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(f"direction file {path} cannot be read: {reason}") from None
    raise UsageError(f"direction file {path}: use .npy, .pt or .safetensors")


def _plain(value: object, path: Path) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {"vector": _real(value)}
    if isinstance(value, np.ndarray):
        return {"vector": _real(torch.from_numpy(value))}
    if isinstance(value, dict):
        named = {str(k): _real(torch.as_tensor(v)) for k, v in value.items() if isinstance(v, Tensor | np.ndarray)}
        if named:
            return named
    raise UsageError(f"direction file {path} holds no vectors")


def _real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():  # a cast would drop half of it without a word
        raise ValueError("its numbers are complex; a direction's are real")
    return tensor.float()


def _direction(name: str, tensor: Tensor, path: Path, num_ws: int) -> Direction:
    vector = tensor.squeeze(0) if tensor.ndim == 3 else tensor
    if vector.ndim == 1:
        vector = vector.unsqueeze(0)
    if vector.ndim == 2 and vector.shape[0] == 1:
        vector = vector.repeat(num_ws, 1)
    if tuple(vector.shape) != (num_ws, 512):
        shape = " x ".join(str(side) for side in tensor.shape)
        raise UsageError(f"direction file {path}: {name} is {shape}; expected 512, 1 x 512 or {num_ws} x 512")
    if not torch.isfinite(vector).all() or not vector.any():
        raise UsageError(f"direction file {path}: {name} is zero or not finite")
    return Direction(name, vector, "units of the file", str(path))


def _components(path: Path, comp: Tensor, std: Tensor, num_ws: int) -> list[Direction]:
    flat = comp.flatten(1) if comp.ndim > 1 else comp.reshape(-1, 1)
    if flat.shape[1] != 512 or len(std.flatten()) != len(flat) or not len(flat):
        raise UsageError(f"direction file {path}: the components are {tuple(comp.shape)}; expected N x 1 x 512 in W")
    return [
        _direction(f"{path.stem}.{i}", row * scale, path, num_ws)
        for i, (row, scale) in enumerate(zip(flat, std.flatten(), strict=True))
    ]
