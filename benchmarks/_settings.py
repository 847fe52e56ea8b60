"""What all measured ways share: a description of the run that travels to their processes as JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.devices import default_batch, device_names, resolve_device
from pipelines.edits import parse_edits
from pipelines.engine.input.listing import list_input
from pipelines.run_specs import Format
from pipelines.specs import EditSpec
from pipelines.weights.store import StoreConfig, WeightStore


@dataclass(frozen=True)
class Settings:
    """Plain values only.

    Attributes:
        work: a folder to write in. faces: aligned crops. raw: photos to align.
        method, attr, format, device, batch_size: as `ganinv edit` has them; a batch size of 0: the device's default.
        photos, raw_photos: how many of each.
        megapixels: of a photo to align, where it is made here.
        records: how many files and manifest lines the bookkeeping is measured on.
        seed: of everything random.
    """

    work: str
    faces: str
    raw: str
    method: str
    attr: str = "smile=+2"
    format: Format = "png"
    device: str = "auto"
    batch_size: int = 0
    photos: int = 6
    raw_photos: int = 3
    megapixels: float = 12.0
    records: int = 20_000
    seed: int = 0

    def spec(self, output: str, device: str | None = None) -> EditSpec:
        """The run over the aligned faces; every measured way has its own output below `work`."""
        kind = EditSpec
        if self.method == "untrained":
            from benchmarks._untrained import UntrainedSpec

            kind = UntrainedSpec
        return kind(
            input=Path(self.faces),
            output=Path(self.work) / output,
            method=self.method,
            edits=parse_edits([self.attr]),
            format=self.format,
            device=device or self.device,
            batch_size=self.batch_size or None,
            limit=self.photos,
            seed=self.seed,
            aligned=True,  # these faces are known to be, as those that `ganinv align` wrote
        )

    def torch_device(self) -> torch.device:
        """The first of the devices that `device` names."""
        return _first(self.device)

    def batch(self) -> int:
        """Faces per pass."""
        return self.batch_on(self.device)

    def batch_on(self, device: str) -> int:
        """Faces per pass on another device than `device`."""
        return self.batch_size or default_batch(_first(device))

    def face_paths(self) -> list[Path]:
        """The aligned faces that are measured, in the order of their keys."""
        return [Path(photo.path) for photo in list_input(Path(self.faces)).photos.part(self.photos)]

    def raw_paths(self) -> list[Path]:
        """The photos to align, in the order of their keys."""
        return [Path(photo.path) for photo in list_input(Path(self.raw)).photos.part(self.raw_photos)]


def open_store() -> WeightStore:
    """The user's weights, as the command line finds them."""
    return WeightStore(StoreConfig.from_env(os.environ))


def _first(device: str) -> torch.device:
    return resolve_device(device_names(device)[0])
