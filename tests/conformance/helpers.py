"""What the parity tests share: where goldens lie, how they are compared, and the table of what was found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conformance.fill import Array, Kind, draw

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4  # times the largest magnitude of the golden array: float32 on a CPU


def golden_folder() -> Path:
    """`CONFORMANCE_DIR`, else the goldens committed here."""
    return Path(os.environ.get("CONFORMANCE_DIR") or DATA)


def manifest_path(name: str) -> Path:
    """``"e4e/stylegan2_64"`` -> its JSON file: beside the goldens, else the one committed here."""
    given = golden_folder() / f"{name}.json"
    return given if given.is_file() else DATA / f"{name}.json"


class Golden(Mapping[str, Array]):
    """The arrays of one golden file. A missing file or array skips the test that asks for it, by name."""

    def __init__(self, name: str) -> None:
        path = golden_folder() / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"golden {name}.npz is not in {path.parents[name.count('/')]}")
        self.name = name
        with np.load(path) as file:
            self._arrays = {key: file[key] for key in file.files}

    def __getitem__(self, key: str) -> Array:
        if key not in self._arrays:
            pytest.skip(f"golden {self.name}.npz has no array '{key}'")
        array: Array = self._arrays[key]
        return array

    def __contains__(self, key: object) -> bool:
        return key in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Finding(NamedTuple):
    """One line of the table: largest |difference| / largest |golden|, and what is allowed."""

    network: str
    golden: str
    error: float
    allowed: float


FINDINGS: list[Finding] = []


def relative_error(found: Tensor | Array, reference: Array) -> float:
    """Largest |found - reference| over largest |reference|, in float64; infinite where anything is not finite.

    Raises:
        AssertionError: the shapes differ.
    """
    ours = found.detach().cpu().double().numpy() if isinstance(found, Tensor) else np.asarray(found, np.float64)
    assert ours.shape == reference.shape, f"shape {ours.shape}, the golden has {reference.shape}"
    if not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - reference).max() / max(np.abs(reference).max(), np.finfo(np.float64).tiny))


def check(
    network: str, golden: Golden, key: str, found: Tensor | Array, tolerance: float = TOLERANCE, atol: float = 0.0
) -> None:
    """Assert that `found` is `golden[key]` to `tolerance` x max|golden| (or to `atol`, where that is more).

    The finding enters the table that a run of this folder prints at its end (docs/conformance.md).
    """
    reference = golden[key]
    allowed = max(tolerance, atol / max(float(np.abs(reference).max()), 1e-30))
    error = relative_error(found, reference)
    FINDINGS.append(Finding(network, f"{golden.name} {key}", error, allowed))
    assert error <= allowed, f"{golden.name} {key}: {error:.2e} x max|golden|, allowed {allowed:.0e}"


def drawn(name: str, shape: tuple[int, ...], kind: Kind = "normal") -> Tensor:
    """The named input as a float32 tensor (`tests.conformance.fill.draw`)."""
    return torch.from_numpy(draw(name, shape, kind))
