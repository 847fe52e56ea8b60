"""The loop of a research script: one photo after the other in one thread, nothing overlaps, nothing is batched."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.edits import Edit
from pipelines.images.pixels import resize_u8, to_tensor, to_uint8
from pipelines.records.latents import save_inversion
from pipelines.stages.chain import Chain
from pipelines.types import F32Array, FaceBatch, U8Image

Locate = Callable[[U8Image], F32Array]


def plain_png(image: U8Image) -> bytes:
    """What `Image.save` writes when a script gives it nothing but a name (compression level 6)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def naive_edit(
    chain: Chain,
    device: torch.device,
    locate: Locate,
    paths: Sequence[Path],
    output: Path,
    edits: Sequence[Edit],
    save: Callable[[U8Image], bytes],
    suffix: str = "png",
    seed: int = 0,
) -> list[float]:
    """Decodes, inverts, edits and saves each aligned face: `inversion/`, one folder for each edit, `latents/`.

    Args:
        chain: the same models as the stream's.
        device: where they live.
        locate: crop uint8 R x R x 3 -> 68 x 2 landmarks, shares of the side.
        paths: aligned crops, any size.
        save: picture uint8 H x W x 3 -> the bytes of a file with that suffix.

    Returns:
        Seconds of each photo.
    """
    for name in ("inversion", "latents", *(edit.name for edit in edits)):
        (output / name).mkdir(parents=True, exist_ok=True)
    seconds = []
    for path in paths:
        started = time.perf_counter()
        with Image.open(path) as file:
            crop = resize_u8(np.array(file.convert("RGB")), chain.resolution, chain.resolution)
        points = torch.from_numpy(locate(crop)[None])
        faces = FaceBatch(to_tensor([crop]), points).to(device)
        torch.manual_seed(seed)
        inversion = chain.invert(faces).stored()
        found = chain.edit(faces, inversion, edits)
        pictures = {"inversion": found.base} | {name: made.image for name, made in found.edits.items()}
        for name, made in pictures.items():
            (output / name / f"{path.stem}.{suffix}").write_bytes(save(_picture(made)))
        codes = save_inversion(inversion, 0, {})
        (output / "latents" / f"{path.stem}.safetensors").write_bytes(codes)
        seconds.append(time.perf_counter() - started)
    return seconds


def _picture(made: Tensor) -> U8Image:
    return to_uint8(made)[0]
