"""Read the constants of an OpenVINO IR v10 network: the .xml names them, the .bin holds their bytes.

Only tensors are read; the graph's operations are ours to write (`pipelines.models.generators.mobile`). No code runs.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import WeightsError

_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32}


def read_constants(graph: Path, blob: Path) -> dict[str, Tensor]:
    """All constants of a network, keyed by their layer's name, in the graph's order.

    Args:
        graph: the .xml file.
        blob: the .bin file that belongs to it.

    Raises:
        WeightsError: the files are not an IR, do not belong together, or are cut short.
    """
    try:
        layers = ET.parse(graph).getroot().find("layers")
        data = np.fromfile(blob, dtype=np.uint8)
    except (ET.ParseError, OSError, ValueError, LookupError) as error:
        raise WeightsError(f"{graph.name} cannot be read as an OpenVINO network: {error}") from None
    if layers is None:
        raise WeightsError(f"{graph.name} has no layers: it is not an OpenVINO network")
    constants: dict[str, Tensor] = {}
    for layer in layers:
        attributes = layer.find("data")
        if layer.get("type") == "Const" and attributes is not None:
            constants[str(layer.get("name"))] = _constant(layer.get("name"), dict(attributes.attrib), data, blob)
    return constants


def _constant(name: str | None, attributes: dict[str, str], data: np.ndarray, blob: Path) -> Tensor:
    try:
        dtype = np.dtype(_DTYPES[attributes["element_type"]])
        shape = tuple(int(side) for side in attributes["shape"].split(",") if side.strip())
        offset, size = int(attributes["offset"]), int(attributes["size"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"constant {name} of {blob.name} is described in a way that is not known: {error}") from None
    whole = min(shape, default=1) > 0 and size == math.prod(shape) * dtype.itemsize
    if not whole or offset < 0 or offset + size > data.size:
        raise WeightsError(f"constant {name} does not fit into {blob.name}: the file is cut short or is another one")
    return torch.from_numpy(data[offset : offset + size].view(dtype).reshape(shape).copy())
