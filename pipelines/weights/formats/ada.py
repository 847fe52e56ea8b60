"""NVIDIA's stylegan2-ada-pytorch pickles (Karras et al., NeurIPS 2020): read without running their code, and renamed.

Such a file pickles whole objects, each with the Python source of its class, which upstream executes on loading. Here an
object becomes a record of its class name and attributes; the source text is never looked at. Tensors sit in the file as
small checkpoints of their own (one byte string a storage), which are read by the same machine.

The arithmetic of both ports is the same, so that tensors only change names and shapes: equalised layers keep unscaled
weights in both, the upsampling convolution is a correlation with the unturned kernel in both, noise strengths are
scalars. What differs is the multiplier of the mapping network's learning rate, which is a number in the file here and
fixed at 0.01 in the other port; weights are rescaled where it is another one.
"""

from __future__ import annotations

import io
import math
import mmap
import re
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.pickled import Attributes, Bag, DamagedPickle, RefusedPickle
from pipelines.weights.checkpoints.scan import SHARING, read_legacy
from pipelines.weights.checkpoints.stubs import TensorSpec, table
from pipelines.weights.checkpoints.unpickle import PickleMachine
from pipelines.weights.formats.parts import Found, Mismatch
from pipelines.weights.formats.stylegan2 import STYLE, generator_part

_MULTIPLIER = 0.01  # of rosinality's mapping network
_MAX_MODULES = 10_000
_MAX_DEPTH = 16
_MAX_NAME = 200
_FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0])


class Persistent(Attributes):
    """What is left of a pickled object: the name of its class and its attributes."""

    def __init__(self, meta: Any) -> None:
        if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
            raise RefusedPickle("an object without a plain state")
        super().__init__(meta["state"])
        kind = meta.get("class_name")
        self.kind = kind if isinstance(kind, str) else ""


def _storage(raw: Any) -> Any:
    if not isinstance(raw, bytes):
        raise RefusedPickle("a storage that is no byte string")
    return read_legacy(io.BytesIO(raw), len(raw), keep=True)


def _table() -> dict[str, Any]:
    return table() | {
        "torch_utils.persistence:_reconstruct_persistent_obj": Persistent,
        "torch.storage:_load_from_bytes": _storage,
        "dnnlib.util:EasyDict": Bag,
    }


def read_ada(path: Path) -> dict[str, Any]:
    """The objects of the file's dictionary, by name (`G_ema` and others).

    Raises:
        WeightsError: not such a pickle, damaged, or one that wants more than tensors and plain containers.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            found = PickleMachine(_table()).load(cast(BinaryIO, view))
    except RefusedPickle as reason:
        hint = "; it is a TensorFlow pickle: convert it with NVIDIA's legacy.py first" if "tflib" in str(reason) else ""
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and plain containers ({reason}); nothing in it was "
            f"run{hint}"
        ) from None
    except (DamagedPickle, OSError, ValueError, RuntimeError) as reason:
        raise WeightsError(f"{path.name} cannot be read as a StyleGAN2 pickle: {reason}; get the file again") from None
    if not isinstance(found, dict) or not isinstance(found.get("G_ema"), Persistent):
        raise WeightsError(f"{path.name} is a pickle, but not one of stylegan2-ada-pytorch: it has no network 'G_ema'")
    return found


def module_tensors(module: Persistent) -> tuple[dict[str, TensorSpec], dict[str, Persistent]]:
    """All parameters and buffers of a module and those below it, and the modules themselves, under dotted names."""
    tensors: dict[str, TensorSpec] = {}
    modules: dict[str, Persistent] = {}
    waiting = [("", module, 0)]
    while waiting:
        name, current, depth = waiting.pop()
        modules[name] = current
        if len(modules) > _MAX_MODULES or depth > _MAX_DEPTH:
            raise Mismatch("its modules are nested without end")
        head = f"{name}." if name else ""
        for group in ("_parameters", "_buffers"):
            for key, value in _items(current, group):
                if len(tensors) > _MAX_MODULES:
                    raise Mismatch("its modules hold tensors without end")
                if isinstance(value, TensorSpec):
                    tensors[f"{head}{key}"] = value
        for key, value in _items(current, "_modules"):
            if isinstance(value, Persistent):
                waiting.append((f"{head}{key}", value, depth + 1))
    return tensors, modules


def _items(module: Persistent, group: str) -> list[tuple[str, Any]]:
    values = module.get(group)
    if not isinstance(values, dict) or len(values) > _MAX_MODULES:
        return []
    return [(key, value) for key, value in values.items() if isinstance(key, str) and len(key) < _MAX_NAME]


def ada(path: Path) -> Found:
    """The generator `G_ema` of a pickle under rosinality's keys.

    Raises:
        WeightsError: as `read_ada`.
        Mismatch: another network (StyleGAN3, a conditional or a residual generator).
    """
    generator = read_ada(path)["G_ema"]
    specs, modules = module_tensors(generator)
    if "mapping.w_avg" not in specs or "synthesis.b4.const" not in specs:
        raise Mismatch(f"its network '{generator.kind[:40]}' is no StyleGAN2 generator")
    if sum(spec.nbytes for spec in specs.values()) > SHARING * path.stat().st_size:
        raise Mismatch("its tensors claim far more numbers than the file holds")
    renamed: dict[str, Tensor] = {}
    mean = None
    for key, spec in specs.items():
        tensor = spec.tensor()
        if key == "mapping.w_avg":
            mean = tensor
        elif key.endswith(".resample_filter"):
            _check_filter(key, tensor)
        else:
            name, shaped = _rename(key, tensor, modules)
            renamed[name] = shaped
    part, notes = generator_part(renamed, mean)
    what = f"a StyleGAN2 generator of {part.params['resolution']} px (NVIDIA's stylegan2-ada-pytorch)"
    return Found("ada", what, (part,), notes)


def _check_filter(key: str, tensor: Tensor) -> None:
    wanted = torch.outer(_FILTER, _FILTER) / 64
    if tensor.shape != wanted.shape or not torch.allclose(tensor.float(), wanted, atol=1e-5):
        raise Mismatch(f"its resampling filter is another one than [1, 3, 3, 1] in {key}")


def _rename(key: str, tensor: Tensor, modules: dict[str, Persistent]) -> tuple[str, Tensor]:
    """(rosinality's key, tensor in its shape); an unknown key keeps its name and is complained about later."""
    mapped = re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key)
    if mapped:
        scale = _rate(modules.get(key.rpartition(".")[0])) / _MULTIPLIER
        return f"style.{int(mapped[1]) + 1}.{mapped[2]}", tensor if abs(scale - 1) < 1e-6 else tensor * scale
    if key == "synthesis.b4.const":
        return "input.input", tensor.unsqueeze(0)
    block = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", key)
    if not block or int(block[1]) & (int(block[1]) - 1):
        return key, tensor
    level = int(block[1]).bit_length() - 3  # 4 px: 0
    if block[2] == "torgb":
        return _inside("to_rgb1" if level == 0 else f"to_rgbs.{level - 1}", block[3], tensor, True, 0)
    second = block[2] == "conv1"
    name = "conv1" if level == 0 else f"convs.{2 * (level - 1) + second}"
    return _inside(name, block[3], tensor, False, 0 if level == 0 else 2 * level - 1 + second)


def _inside(name: str, field: str, tensor: Tensor, rgb: bool, noise: int) -> tuple[str, Tensor]:
    if field in ("affine.weight", "affine.bias"):
        return f"{name}.conv.modulation.{field[7:]}", tensor
    if field == "weight":
        return f"{name}.conv.weight", tensor.unsqueeze(0)
    if field == "bias":
        return (f"{name}.bias", tensor.reshape(1, -1, 1, 1)) if rgb else (f"{name}.activate.bias", tensor)
    if field == "noise_const" and not rgb:
        return f"noises.noise_{noise}", tensor.reshape(1, 1, *tensor.shape)
    if field == "noise_strength" and not rgb:
        return f"{name}.noise.weight", tensor.reshape(1)
    return f"{name}.{field}", tensor


def _rate(module: Persistent | None) -> float:
    """The learning-rate multiplier of a mapping layer, from the gain that it stores (gain = multiplier / sqrt(512))."""
    gain = module.get("weight_gain") if module is not None else None
    if not isinstance(gain, (int, float)) or not 0 < gain < 1:
        return _MULTIPLIER
    return float(gain) * math.sqrt(STYLE)
