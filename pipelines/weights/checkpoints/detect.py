"""Which of the field's files is this? By container, keys and shapes; never by the file's name alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.files import parse_json
from pipelines.weights.checkpoints.read import flatten, load_objects
from pipelines.weights.checkpoints.scan import MAGIC
from pipelines.weights.formats.ada import ada
from pipelines.weights.formats.diffcam import deghosting, diffcam
from pipelines.weights.formats.dlib_dat import read_dlib_resnet
from pipelines.weights.formats.encoder import arcface, encoders
from pipelines.weights.formats.parts import Found, Mismatch, Part, refuse
from pipelines.weights.formats.sdic import sdic
from pipelines.weights.formats.stylegan2 import rosinality

KNOWN = (
    "StyleGAN2 generators (rosinality .pt, NVIDIA ada .pkl), pSp, e4e, LSAP, Cycle and ReStyle encoders, SDIC, HFGI, "
    "Diff-CAM's two files, ArcFace IR-SE-50, dlib's face network"
)
_LEGACY = b"\x8a\n" + MAGIC.to_bytes(10, "little")
_MODULE = re.compile(r"(?<![^.])module\.")  # what data-parallel training puts before the keys of a network
_ENCODER_TYPES = {"psp": "GradualStyleEncoder", "e4e": "Encoder4Editing"}


def detect(path: Path) -> Found:
    """What a file holds, its tensors checked and under the keys that `ganinv` reads.

    Args:
        path: a file; its bytes decide, not its name.

    Raises:
        WeightsError: unreadable, damaged, wanting to run code, unknown, or not exactly the network that it seems to
            be; one sentence that names the file.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        if path.suffix.lower() == ".dat":
            return _dlib(path)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
            return _known(*_safetensors(path))
        pickled = head[:1] == b"\x80" or path.suffix.lower() in (".pkl", ".pickle")
        if pickled and head[2 : 2 + len(_LEGACY)] != _LEGACY:
            return ada(path)
        return _known(*_checkpoint(path))
    except Mismatch as reason:
        raise refuse(path.name, reason) from None
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Names and shapes that no writer makes: what a layout's code trips over is the file's fault.
        raise refuse(path.name, f"its names or shapes make no sense ({type(error).__name__})") from None


def _checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, training options) of a .pt file; tensors stay in the file until they are read."""
    objects = load_objects(path, mapped=True)
    tensors = dict(flatten(objects))
    options = objects.get("opts") if isinstance(objects, Mapping) else None
    plain = vars(options) if isinstance(options, argparse.Namespace) else options
    return tensors, dict(plain) if isinstance(plain, Mapping) else {}


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, options) of a safetensors file; the library checks header and sizes before it maps the numbers."""
    try:
        with safe_open(path, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dictionary)
            about = parse_json((opened.metadata() or {}).get("ganinv", "{}"))
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path.name} cannot be read as safetensors: {reason}") from None
    arch = about.get("arch") if isinstance(about, dict) else None
    return tensors, {"encoder_type": _ENCODER_TYPES[arch]} if arch in _ENCODER_TYPES else {}


def _known(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Found:
    plain = {_MODULE.sub("", key): tensor for key, tensor in tensors.items()}
    if len(plain) != len(tensors):
        raise Mismatch("it has keys twice, with and without the prefix module.")
    found = (
        sdic(plain, options)
        or encoders(plain, options)
        or arcface(plain)
        or deghosting(plain)
        or diffcam(plain)
        or rosinality(plain)
    )
    if found is None:
        keys = ", ".join(key[:60] for key in list(plain)[:3]) or "none"
        raise Mismatch(f"its keys ({keys}, ...) are those of no network that ganinv knows; known: {KNOWN}")
    return found


def _dlib(path: Path) -> Found:
    try:
        tensors = read_dlib_resnet(path)
    except WeightsError as error:
        raise WeightsError(
            f"{error}; shape_predictor_68_face_landmarks.dat needs no conversion: "
            f"`ganinv weights add {path.name} --as landmarks-68`"
        ) from None
    part = Part("identity", "identity", "dlib-resnet", {"size": 150, "dimensions": 128}, tensors)
    return Found("dlib-resnet", "dlib's face descriptor network", (part,))
