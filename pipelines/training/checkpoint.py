"""The whole state of a training run in one file that holds no code, written whole or not at all.

Nested dictionaries and lists of tensors and plain values become a safetensors file: tensors by their path, everything
else as JSON in the header. What is read back equals what was saved, so a killed run goes on as if nothing had happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.files import write_atomic

_MARK = "__tensor__"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state`.

    Raises:
        OutputError: the disk is full or the folder cannot be written; the file of before stays as it was.
    """
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    write_atomic(path, save(tensors, metadata={"ganinv": json.dumps(plain)}), durable=True)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; tensors on the CPU.

    Raises:
        UsageError: the file is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})["ganinv"])
            result: dict[str, Any] = _join(plain, file)
            return result
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"the checkpoint {path} cannot be read ({error}): delete it to start the run anew") from None


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_MARK: path}
    if isinstance(value, dict):
        return {"d": [[key, _split(inner, f"{path}/{key}", tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return {"l": [_split(inner, f"{path}/{i}", tensors) for i, inner in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"v": value}
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at {path}")


def _join(value: Any, file: Any) -> Any:
    if _MARK in value:
        tensor: Tensor = file.get_tensor(value[_MARK])
        return tensor
    if "d" in value:
        return {key: _join(inner, file) for key, inner in value["d"]}
    return [_join(inner, file) for inner in value["l"]] if "l" in value else value["v"]


def tensors_of(state: Any) -> Iterator[Tensor]:
    """Every tensor in a nested state."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors_of(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from tensors_of(value)


def all_finite(state: Any) -> bool:
    """No tensor of `state` holds a NaN or an infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors_of(state) if t.is_floating_point())
