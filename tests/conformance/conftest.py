"""Fixtures of the parity suite, and the table that it prints.

CONFORMANCE_DIR names another folder of goldens, CONFORMANCE_PREFIX goes before the name of every drawn input: the same
tests then run on goldens of other inputs. What is absent there is skipped by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor

from tests.conformance.fill import fill
from tests.conformance.helpers import FINDINGS, Golden, manifest_path


class Filled(Protocol):
    """``filled("e4e/stylegan2_64", prefix="decoder.", keep=...)`` -> state dict of CPU tensors."""

    def __call__(
        self, manifest: str, prefix: str = "", keep: Callable[[str], bool] = lambda key: True
    ) -> dict[str, Tensor]: ...


@pytest.fixture(scope="session")
def goldens() -> Callable[[str], Golden]:
    """``goldens("e4e/lec")`` -> its arrays by name; skips where the file is absent."""
    return Golden


@pytest.fixture(scope="session")
def filled() -> Filled:
    """State dicts made from a manifest; see `tests.conformance.fill.fill`. Nothing is kept: hold them in your fixture."""

    def make(manifest: str, prefix: str = "", keep: Callable[[str], bool] = lambda key: True) -> dict[str, Tensor]:
        arrays = fill(manifest_path(manifest), prefix, keep)
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    return make


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not FINDINGS:
        return
    terminalreporter.section("conformance: largest |difference| / largest |golden|")
    for row in FINDINGS:
        terminalreporter.write_line(f"| {row.network} | {row.golden} | {row.error:.1e} | {row.allowed:.0e} |")
