"""PyTorch checkpoints (.pt, .pth) -> safetensors. The only module that opens a pickle, and never an unrestricted one.

`torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else; the one class allowed
besides is `argparse.Namespace`, which e4e-like checkpoints carry as their training options.
"""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pipelines.errors import WeightsError


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, on the CPU, under their full names.

    Nested mappings are joined by dots (``{"state_dict": {"a.weight": t}}`` gives ``state_dict.a.weight``); nothing is
    stripped. Values that are no tensors (options, step counters) are left out.

    Raises:
        WeightsError: not a PyTorch checkpoint, one that wants to run code, or one without tensors.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and plain containers, or is no checkpoint ({reason})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path.name} cannot be read as a PyTorch checkpoint: {reason}") from None
    tensors = dict(_flatten(loaded, ""))
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors")
    return tensors


def convert_checkpoint(source: Path, target: Path) -> None:
    """Write the tensors of `source` (see `read_checkpoint`) to `target` as safetensors.

    Raises:
        WeightsError: as `read_checkpoint`.
        OSError: `target` cannot be written.
    """
    # Tied weights share storage, which safetensors refuses: each name gets bytes of its own.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in read_checkpoint(source).items()}
    try:
        save_file(tensors, target)
    except SafetensorError as error:  # how the library reports a full disk
        raise OSError(str(error)) from None


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name or "tensor", value
    elif isinstance(value, argparse.Namespace):
        yield from _flatten(vars(value), name)
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _flatten(child, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _flatten(child, f"{name}.{index}" if name else str(index))
