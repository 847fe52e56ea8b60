"""One face's codes and residuals on disk: `latents/KEY.safetensors`."""

from __future__ import annotations

import json

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipelines.errors import PhotoError
from pipelines.types import Inversion, Point

FORMAT = "ganinv-latents-1"


def save_inversion(inversion: Inversion, index: int, metadata: dict[str, str]) -> bytes:
    """The bytes of one face's file: `latents` L x 512 float32, `residual.POINT` C x r x r float16, scores as metadata."""
    tensors = {"latents": inversion.latents[index].float().cpu().contiguous()}
    for point, residual in inversion.residuals.items():
        tensors[f"residual.{point}"] = residual[index].half().cpu().contiguous()
    scores = {name: float(values[index]) for name, values in inversion.scores.items()}
    # One key: the library writes several in an order that changes from process to process, and runs must be repeatable.
    about = json.dumps({"format": FORMAT, "scores": scores, **metadata}, sort_keys=True)
    return save(tensors, metadata={"ganinv": about})


def load_inversion(data: bytes) -> tuple[Inversion, dict[str, str]]:
    """What `save_inversion` made -> (inversion with n = 1, metadata).

    Raises:
        PhotoError: code "bad-latents": the file is damaged or of another kind.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = dict(json.loads(header.get("__metadata__", {}).get("ganinv", "{}")))
        tensors = load(data)
    except (SafetensorError, ValueError, AttributeError) as error:
        raise PhotoError("bad-latents", f"the latents file is damaged: {error}") from None
    if about.pop("format", None) != FORMAT or "latents" not in tensors:
        raise PhotoError("bad-latents", "the latents file was not written by this tool")
    residuals: dict[Point, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("residual."):
            point = name.removeprefix("residual.")
            residuals[int(point) if point.isdigit() else point] = tensor.float().unsqueeze(0)
    scores = {str(name): torch.tensor([float(value)]) for name, value in about.pop("scores", {}).items()}
    return Inversion(tensors["latents"].float().unsqueeze(0), residuals, scores), about
