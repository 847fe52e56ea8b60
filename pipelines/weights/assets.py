"""The small weights and directions of our own that travel inside the package, each with a card (JSON) beside it."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipelines.errors import WeightsError


def asset_path(name: str, suffix: str = ".safetensors") -> Path:
    """The file of the asset called `name` (without suffix).

    Raises:
        WeightsError: this installation has no such asset.
    """
    path = Path(str(resources.files("pipelines.assets").joinpath(name + suffix)))
    if Path(name).name != name or not path.is_file():
        raise WeightsError(f"this installation lacks its own file {name}{suffix}: install ganinv again")
    return path


def asset_tensors(name: str) -> dict[str, Tensor]:
    """The tensors of an asset, on the CPU, in the dtype that they are stored in (usually float16).

    Raises:
        WeightsError: no such asset, or the file is damaged.
    """
    path = asset_path(name)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): install ganinv again") from None


def asset_card(name: str) -> dict[str, Any]:
    """The card of an asset: data, recipe, commit, figures, licence.

    Raises:
        WeightsError: no such card, or it is no JSON object.
    """
    path = asset_path(name, ".json")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): install ganinv again") from None
    if not isinstance(card, dict):
        raise WeightsError(f"{path} is damaged (no JSON object): install ganinv again")
    return card


def asset_sha256(name: str) -> str:
    """sha256 of an asset's tensors file, hex: what the fingerprint of a run carries."""
    path = asset_path(name)
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@cache
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the key, so that a file which training has just replaced is hashed again.
    return hashlib.sha256(path.read_bytes()).hexdigest()
