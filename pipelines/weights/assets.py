"""Our own small files inside the package: entries of the catalogue with the source ``package:NAME``, and their cards."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.files import parse_json


def packed_path(filename: str) -> Path:
    """Where this installation keeps its own file of that name, or would."""
    return Path(str(resources.files("pipelines.assets").joinpath(filename)))


def card(name: str) -> dict[str, Any]:
    """The card of the packed entry `name`: data, recipe, commit, figures, licence.

    Raises:
        WeightsError: no such card, or it is no JSON object.
    """
    path = packed_path(f"{name}.json")
    try:
        found = parse_json(path.read_bytes())
        if isinstance(found, dict):
            return found
        reason = "no JSON object"
    except (ValueError, OSError) as error:
        reason = str(error)
    raise WeightsError(f"{path} is missing or damaged ({reason}): install ganinv again")


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU, as stored.

    Raises:
        WeightsError: no such file, or it is damaged.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}") from None
