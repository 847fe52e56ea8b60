"""One face's codes and residuals on disk: `latents/KEY.safetensors`. What it holds is what `Inversion` is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipelines.errors import PhotoError
from pipelines.files import parse_json
from pipelines.kept import Kept
from pipelines.types import Inversion

FORMAT = "ganinv-latents-1"
KindT = TypeVar("KindT", bound=Inversion)


def save_inversion(inversion: Inversion, index: int, metadata: dict[str, str]) -> bytes:
    """The bytes of one face's file: `latents` L x 512 float32, `residual.POINT` C x r x r float16, scores as metadata."""
    tensors, numbers = {}, dict[str, dict[str, float]]()
    for how, key, tensor in inversion.tensors():
        if how.disk is None:
            numbers.setdefault(how.name, {})[str(key)] = float(tensor[index])
        else:
            tensors[_name(how, key)] = tensor[index].to(how.disk).cpu().contiguous()
    # One key: the library writes several in an order that changes from process to process, and runs must be repeatable.
    about = json.dumps({"format": FORMAT, "scores": {}, **numbers, **metadata}, sort_keys=True)
    return save(tensors, metadata={"ganinv": about})


def load_inversion(data: bytes) -> tuple[Inversion, dict[str, Any]]:
    """As `load_as`, of the kind that this version writes."""
    return load_as(Inversion, data)


def load_as(kind: type[KindT], data: bytes) -> tuple[KindT, dict[str, Any]]:
    """What `save_inversion` made -> (inversion with n = 1, metadata).

    Raises:
        PhotoError: code "bad-latents": the file is damaged, of another kind, or holds numbers that are not finite.
    """
    try:
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = dict(parse_json(header.get("__metadata__", {}).get("ganinv", "{}")))
        tensors = load(data)
        if about.pop("format", None) != FORMAT or "latents" not in tensors:
            raise PhotoError("bad-latents", "the latents file was not written by this tool")
        inversion = kind(**dict(_fields(kind, tensors, about)))
    except (SafetensorError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise PhotoError("bad-latents", f"the latents file is damaged: {error}") from None
    _check(inversion)
    return inversion, about


def _name(how: Kept, key: object) -> str:
    return how.name if key is None else f"{how.name}.{key}"


def _fields(kind: type[Inversion], tensors: Mapping[str, Tensor], about: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for each in fields(kind):
        how: Kept = each.metadata["kept"]
        if how.disk is None:
            numbers = dict(about.pop(how.name, {}))
            yield each.name, {str(name): torch.tensor([float(value)]) for name, value in numbers.items()}
        elif how.name in tensors:
            yield each.name, tensors[how.name].float().unsqueeze(0)
        else:
            head = f"{how.name}."
            own = {name.removeprefix(head): tensor for name, tensor in tensors.items() if name.startswith(head)}
            yield each.name, {int(k) if k.isdecimal() else k: t.float().unsqueeze(0) for k, t in own.items()}


def _check(inversion: Inversion) -> None:
    """Raises PhotoError where shapes or numbers cannot be a face's."""
    if inversion.latents.ndim != 3 or any(r.ndim != 4 for r in inversion.residuals.values()):
        raise PhotoError("bad-latents", "the latents file holds tensors of another shape than this tool writes")
    if not all(math.isfinite(float(tensor.sum())) for how, _, tensor in inversion.tensors() if how.disk):
        raise PhotoError("bad-latents", "the latents file holds numbers that are not finite")
