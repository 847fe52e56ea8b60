"""Carry out a training, whichever it is; and what every training leaves: an asset with its card."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from pipelines import plugins
from pipelines.files import write_atomic
from pipelines.training.base_specs import TrainSpec
from pipelines.weights.store import WeightStore

Report = Callable[[dict[str, Any]], None]
LICENCE = "Apache-2.0; fitted to a generator that was distilled from NVIDIA's FFHQ StyleGAN2 (non-commercial)"


def train(spec: TrainSpec, store: WeightStore, report: Report) -> Path:
    """Do what `spec` asks for, going on where an earlier run into its folder stopped; gives the file that was written.

    Raises:
        UsageError: unusable data, other options than the run in the folder began with, an unknown name.
        GanInvError: the loss is no number any more.
    """
    plugins.load(spec.plugins)
    made: Path = importlib.import_module(spec.task).train(spec, store, report)
    return made


def write_asset(folder: Path, name: str, tensors: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """NAME.safetensors and NAME.json in `folder`, each written whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    write_atomic(path, save({key: tensor.contiguous() for key, tensor in tensors.items()}))
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return path
