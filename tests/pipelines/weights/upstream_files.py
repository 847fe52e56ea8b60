"""Small upstream files, made by code: the field's layouts with random half-precision numbers."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.weights.formats import encoder, sdic, stylegan2
from pipelines.weights.formats.parts import Layout

WIDTHS = {4: 16, 8: 12}
KERNEL = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 16


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units and small style blocks instead of IR-SE-50's: its full layout is checked against the manifests."""

    def style(row: int, convs: int) -> Layout:
        return {f"styles.{row}.convs.0.weight": (convs, 4, 3, 3), f"styles.{row}.linear.weight": (4, 4)}

    monkeypatch.setattr(encoder, "_GROUPS", ((64, 64, 1), (64, 16, 1)))
    monkeypatch.setattr(encoder, "_style", style)


def fill(layout: Layout, seed: int = 0, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random numbers for every key; the same for the same layout and seed."""
    return dict(zip(layout, _drawn(tuple(layout.values()), seed, dtype), strict=True))


@cache
def _drawn(shapes: tuple[tuple[int, ...], ...], seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    made = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=made).to(dtype) for shape in shapes)


def generator_tensors(size: int = 8, mapping: int = 1) -> dict[str, Tensor]:
    """A rosinality generator of few channels with its FIR kernels."""
    kernels = {"convs.0.conv.blur.kernel": KERNEL, "to_rgbs.0.upsample.kernel": KERNEL}
    return fill(stylegan2.layout(size, WIDTHS, mapping)) | kernels


def encoder_tensors(rows: int = 2) -> dict[str, Tensor]:
    """An e4e encoder; small after `shrink`."""
    return fill(encoder.encoder_layout(rows), 1) | {"input_layer.1.num_batches_tracked": torch.tensor(3)}


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def e4e_file(path: Path, rows: int = 2, **extra: Any) -> Path:
    """An e4e checkpoint with its training states; `extra` replaces top-level objects (None takes one away)."""
    state = below("encoder.", encoder_tensors(rows)) | below("decoder.", generator_tensors())
    objects = {
        "state_dict": state,
        "latent_avg": torch.arange(512.0).repeat(rows, 1) / 512,
        "opts": {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True, "device": "cuda:0"},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3), "step": 4}}, "param_groups": [{"lr": 1e-4}]},
        "global_step": 7,
    } | extra
    torch.save({key: value for key, value in objects.items() if value is not None}, path)
    return path


def sdic_state(old_names: bool = False) -> dict[str, Tensor]:
    """The `state_dict` of SDIC with dead and training-only keys."""
    saf, dip = ("residue.", "CGI.") if old_names else ("SAF.", "DIP.")
    dead = {"DIP.spx.0.bias": torch.zeros(9), "SAF.aff1.0.bn.num_batches_tracked": torch.tensor(0)}
    return (
        below("encoder.", encoder_tensors())
        | below("decoder.", generator_tensors())
        | below(saf, fill(sdic.saf_layout(), 2))
        | below(dip, fill(sdic.dip_layout(), 3))
        | {"id_loss.facenet.x": torch.zeros(1), "lpips_loss.lin.0": torch.zeros(1)}
        | {key.replace("DIP.", dip).replace("SAF.", saf): tensor for key, tensor in dead.items()}
    )


# -- NVIDIA's pickles --------------------------------------------------------------------------------------------------


class Meta:
    """Pickles as NVIDIA's persistence module writes an object: a call with one dictionary, source text included."""

    def __init__(self, kind: str, state: dict[str, Any], source: str = "raise SystemExit('source was run')") -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": kind, "state": state}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[dict[str, Any]]]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def nvidia_modules() -> Iterator[type]:
    """While inside, the module names that NVIDIA's pickles mention exist, so that pickle can write them."""
    names = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    modules = {name: ModuleType(name) for name in names}

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        raise AssertionError("the pickle was run")

    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    modules["dnnlib.util"].EasyDict = easy  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield easy
    finally:
        for name in names:
            del sys.modules[name]


def module(
    kind: str, modules: dict[str, Any] | None = None, buffers: dict[str, Tensor] | None = None, **fields: Any
) -> Meta:
    """A network module as such a pickle holds it; tensors among `fields` become parameters."""
    parameters = {key: torch.nn.Parameter(value) for key, value in fields.items() if isinstance(value, Tensor)}
    plain = {key: value for key, value in fields.items() if not isinstance(value, Tensor)}
    state = {"training": False, "_parameters": parameters, "_buffers": buffers or {}, "_modules": modules or {}} | plain
    return Meta(kind, state)


def _layer(tensors: Mapping[str, Tensor], name: str, side: int, index: int) -> Meta:
    affine = module(
        "FullyConnectedLayer",
        weight=tensors[f"{name}.conv.modulation.weight"],
        bias=tensors[f"{name}.conv.modulation.bias"],
    )
    noise = {"noise_const": tensors[f"noises.noise_{index}"][0, 0], "resample_filter": KERNEL / 4}
    return module(
        "SynthesisLayer",
        {"affine": affine},
        noise,
        weight=tensors[f"{name}.conv.weight"][0],
        resolution=side,
        bias=tensors[f"{name}.activate.bias"],
        noise_strength=tensors[f"{name}.noise.weight"][0],
    )


def _rgb(tensors: Mapping[str, Tensor], name: str) -> Meta:
    affine = module(
        "FullyConnectedLayer",
        weight=tensors[f"{name}.conv.modulation.weight"],
        bias=tensors[f"{name}.conv.modulation.bias"],
    )
    return module(
        "ToRGBLayer",
        {"affine": affine},
        weight=tensors[f"{name}.conv.weight"][0],
        bias=tensors[f"{name}.bias"].flatten(),
    )


def ada_bytes(tensors: Mapping[str, Tensor], rate: float = 0.01, protocol: int = 4, **extra: Any) -> bytes:
    """NVIDIA's pickle of the 8 px generator `tensors` (rosinality's keys), its mapping trained at `rate`."""
    with nvidia_modules() as easy:
        scale = 0.01 / rate
        gain = np.float64(rate / np.sqrt(512))
        fc0 = module(
            "FullyConnectedLayer",
            weight=tensors["style.1.weight"] * scale,
            bias=tensors["style.1.bias"] * scale,
            weight_gain=gain,
        )
        mapping = module("MappingNetwork", {"fc0": fc0}, {"w_avg": torch.arange(512.0)})
        b4 = module(
            "SynthesisBlock",
            {"conv1": _layer(tensors, "conv1", 4, 0), "torgb": _rgb(tensors, "to_rgb1")},
            {"resample_filter": KERNEL / 4},
            const=tensors["input.input"][0],
        )
        layers = {"conv0": _layer(tensors, "convs.0", 8, 1), "conv1": _layer(tensors, "convs.1", 8, 2)}
        b8 = module("SynthesisBlock", layers | {"torgb": _rgb(tensors, "to_rgbs.0")}, {"resample_filter": KERNEL / 4})
        synthesis = module("SynthesisNetwork", {"b4": b4, "b8": b8}, block_resolutions=[4, 8])
        network = module("Generator", {"mapping": mapping, "synthesis": synthesis}, init_kwargs=easy(z_dim=512))
        objects = {"G": None, "G_ema": network, "training_set_kwargs": easy(path="x"), "augment_pipe": None} | extra
        return pickle.dumps(objects, protocol)
