"""What a photo takes while it is decoded, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 6000
CODE = """
import sys, resource, pathlib
import cv2, pipelines.images.decode as module
data = pathlib.Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shape = module.decode(data).shape
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (shape[0] * shape[1]))
"""


@pytest.mark.parametrize(
    ("mode", "name", "limit"),
    [("RGBA", "a.png", 8.0), ("LA", "a.png", 8.0), ("L", "a.png", 5.5), ("I;16", "a.png", 6.5), ("RGB", "a.jpg", 8.0)],
)
def test_bytes_a_pixel(tmp_path: Path, mode: str, name: str, limit: float) -> None:
    """A picture once as stored (RGB, RGBA and LA: 4), the result (3), and bands; was 16 for RGBA."""
    band = np.arange(SIDE, dtype=np.uint16)[None] * np.ones((SIDE, 1), np.uint16)
    picture = Image.fromarray(band) if mode == "I;16" else Image.fromarray((band // 24).astype(np.uint8)).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray((band // 32).astype(np.uint8)))
    picture.save(tmp_path / name, **({"compress_level": 1} if name.endswith("png") else {}))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < limit
