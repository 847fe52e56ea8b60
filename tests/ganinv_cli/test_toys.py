"""Parts of a user's own, a file each, through the real command line and the real models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.weights.store import WeightStore

TOYS = Path(__file__).parents[1] / "toys"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), np.int16)


@pytest.mark.weights
def test_a_composer_a_refiner_and_a_compensator_of_ones_own(tmp_path: Path, store: WeightStore) -> None:
    face = pixels(store.path("sample-astronaut"))[:256, 100:356].astype(np.uint8)
    (tmp_path / "faces").mkdir()
    Image.fromarray(face).save(tmp_path / "faces" / "a.png")

    def edit(out: str, *words: str) -> Path:
        plugins = [
            word for name in ("composer", "refiner", "compensator") for word in ("--plugin", str(TOYS / f"{name}.py"))
        ]
        line = [
            sys.executable,
            "-m",
            "ganinv_cli.app",
            "edit",
            "./faces",
            "-o",
            out,
            "--attr",
            "yaw=+1",
            "--method",
            "e4e",
        ]
        done = subprocess.run(
            [*line, "--aligned", "--masks", *plugins, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return tmp_path / out

    plain = edit("plain", "--compose", "none")
    assert (pixels(plain / "masks" / "yaw+1" / "a.png") == 255).all()
    flipped = edit("plain", "--compose", "none", "--compensate", "toy-flip", "--json")
    assert (
        pixels(flipped / "inversion" / "a.png")[::-1]
        == pixels(edit("again", "--compose", "none") / "inversion" / "a.png")
    ).all()
    record = json.loads((flipped / "manifest.jsonl").read_text())
    assert "invert" not in record["ms"], "another compensator keeps the codes on disk"
    half = edit("half", "--compose", "toy-half")
    source = pixels(half / "inversion" / "a.png").shape
    made, photo = pixels(half / "yaw+1" / "a.png"), np.asarray(Image.fromarray(face).resize(source[1::-1], 0), np.int16)
    assert made.shape == photo.shape
    mask = pixels(half / "masks" / "yaw+1" / "a.png")
    assert not mask[:, : mask.shape[1] // 2].any()
    assert mask[:, mask.shape[1] // 2 :].all()
    mean = edit("mean", "--refine", "toy-mean", "--compose", "none")
    assert np.abs(pixels(mean / "inversion" / "a.png") - pixels(plain / "inversion" / "a.png")).mean() > 5
