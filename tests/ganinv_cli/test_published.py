"""Published checkpoints through the real command line: convert, invert, edit. Filled weights, 64 px, the full encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from torch import Tensor

from tests.conformance.fill import fill
from tests.conformance.helpers import manifest_path

# Buys: convert, invert and edit of published files by the command line, as one chain; the quick tests check each step alone.
pytestmark = [pytest.mark.slow, pytest.mark.weights]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gen.pt and e4e.pt in rosinality's and e4e's own layouts, and three square pictures."""
    folder = tmp_path_factory.mktemp("published")
    generator = {k.removeprefix("decoder."): v for k, v in fill_manifest("e4e/stylegan2_64").items()}
    torch.save({"g_ema": generator}, folder / "gen.pt")
    encoder = fill_manifest("e4e/e4e_encoder")
    rows = {key: value for key, value in encoder.items() if not _beyond(key, 10)}
    state: dict[str, Tensor] = rows | {f"decoder.{key}": value for key, value in generator.items()}
    torch.save(
        {"state_dict": state, "latent_avg": torch.zeros(10, 512), "opts": {"stylegan_size": 64}}, folder / "e4e.pt"
    )
    (folder / "faces").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((256, 256)).save(folder / "faces" / f"{i}.png")
    return folder


def fill_manifest(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fill(manifest_path(name)).items()}


def _beyond(key: str, rows: int) -> bool:
    parts = key.split(".")
    return "styles" in parts and int(parts[parts.index("styles") + 1]) >= rows


def test_an_encoder_and_a_generator_from_files(
    ganinv: Callable[..., Result], files: Path, monkeypatch: pytest.MonkeyPatch, store: Any
) -> None:
    monkeypatch.setenv("GANINV_OFFLINE", "0")
    monkeypatch.setenv("GANINV_MIRROR", str(store.path("landmarks-68").parent))
    for name in ("gen", "e4e"):
        assert ganinv("weights", "convert", str(files / f"{name}.pt"), "--as", name).exit_code == 0
    chosen = ["--generator", "gen", "--encoder", "e4e", "--aligned", "--size", "64", "--json"]
    done = ganinv("edit", str(files / "faces"), "-o", "edits", "--attr", "smile=+1", *chosen)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["ok"] == 3
    first, edited = (np.asarray(Image.open(Path("edits") / kind / "0.png")) for kind in ("inversion", "smile+1"))
    assert first.shape == edited.shape == (64, 64, 3)
    assert not np.array_equal(first, edited)


def test_an_encoder_of_another_size_is_refused(ganinv: Callable[..., Result], files: Path) -> None:
    done = ganinv("invert", str(files / "faces"), "--encoder", str(files / "e4e.pt"), "--aligned")
    assert done.exit_code == 2
    assert "10 rows" in done.output
