"""PyTorch checkpoints (.pt, .pth) -> safetensors. The only module that opens a pickle, and never an unrestricted one.

A checkpoint is looked through first (`pipelines.weights.checkpoints.scan`), which refuses code and sizes that cannot be true;
then `torch.load(weights_only=True)` builds tensors and plain containers and refuses everything else once more. The one
class allowed besides is `argparse.Namespace`, which e4e-like checkpoints carry as their training options.
"""

from __future__ import annotations

import argparse
import pickle
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.scan import scan_checkpoint


def load_objects(path: Path, mapped: bool = False) -> Any:
    """The objects of a checkpoint: tensors on the CPU in plain containers, options as `argparse.Namespace` or dict.

    Args:
        mapped: tensors of the newer format are left in the file until they are read (a checkpoint with optimiser
            states is four times as large as its network). The file must not change meanwhile.

    Raises:
        WeightsError: not a PyTorch checkpoint, a damaged one, or one that wants to run code.
    """
    scan_checkpoint(path)
    with path.open("rb") as stream:
        mapped = mapped and stream.read(2) == b"PK"
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and plain containers, or is no checkpoint ({reason})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path.name} cannot be read as a PyTorch checkpoint: {reason}") from None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, on the CPU, under their full names.

    Nested mappings are joined by dots (``{"state_dict": {"a.weight": t}}`` gives ``state_dict.a.weight``); nothing is
    stripped. Values that are no tensors (options, step counters) are left out.

    Raises:
        WeightsError: as `load_objects`, or without tensors.
    """
    tensors = dict(flatten(load_objects(path)))
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors")
    return tensors


def convert_checkpoint(source: Path, target: Path) -> None:
    """Write the tensors of `source` (see `read_checkpoint`) to `target` as safetensors.

    Raises:
        WeightsError: as `read_checkpoint`.
        OSError: `target` cannot be written.
    """
    write_tensors(read_checkpoint(source), target)


def write_tensors(tensors: Mapping[str, Tensor], target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors; those that share numbers (tied weights) get bytes of their own.

    Raises:
        OSError: `target` cannot be written.
    """
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        # Tied weights share storage, which safetensors refuses: each name gets bytes of its own.
        if whole.untyped_storage().nbytes() != whole.nbytes or whole.data_ptr() in taken:
            whole = whole.clone()
        taken.add(whole.data_ptr())
        own[name] = whole
    try:
        target.touch()
        mode = stat.S_IMODE(target.stat().st_mode)
        save_file(own, target, dict(metadata) if metadata else None)
        target.chmod(mode)  # the library's own is 0600, whoever shares the folder
    except SafetensorError as error:  # how the library reports a full disk
        raise OSError(str(error)) from None


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(dotted name, tensor) of every tensor in what `load_objects` gave (its depth and size were checked there)."""
    if isinstance(value, Tensor):
        yield name or "tensor", value
    elif isinstance(value, argparse.Namespace):
        yield from flatten(vars(value), name)
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from flatten(child, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from flatten(child, f"{name}.{index}" if name else str(index))
