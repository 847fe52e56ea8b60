"""Reads a TensorFlow Lite file (.tflite) without TensorFlow: its graph as plain records, its numbers as tensors.

The container is a FlatBuffer (google.github.io/flatbuffers, "internals"): a *table* begins with the signed distance back
to its list of field places; a field that is not there has its default. Which fields there are says TensorFlow's
`schema.fbs`, version 3. Only what the networks of this catalogue use is known; everything else is refused. No code runs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.errors import WeightsError
from pipelines.models.tflite import Graph, Node

MAX_BYTES = 64 << 20
_MAX_ITEMS = 10_000
_MAX_SIDE = 1 << 20
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4"}  # schema: TensorType
_CUSTOM = 32
_OPERATIONS = {
    0: "add", 1: "average_pool", 2: "concatenate", 3: "conv", 4: "depthwise_conv", 6: "dequantize",
    9: "fully_connected", 14: "logistic",
    17: "max_pool", 18: "mul", 19: "relu", 21: "relu6", 22: "reshape", 23: "resize_bilinear", 34: "pad", 40: "mean",
    54: "prelu", 117: "hard_swish",
}  # fmt: skip
_ACTIVATIONS = {0: "", 1: "relu", 3: "relu6"}


class _Foreign(Exception):
    """Not what the format asks for; a phrase that says what."""


@dataclass(frozen=True)
class _Table:
    """A table of the FlatBuffer; every access is checked against the bytes that are there."""

    data: bytes
    at: int

    def _place(self, field: int) -> int:
        """Where a field lies, 0 where it has its default."""
        fields = self.at - self._number("<i", self.at)
        if fields < 0 or 4 + 2 * field >= self._number("<H", fields):
            return 0
        offset = self._number("<H", fields + 4 + 2 * field)
        return self.at + offset if offset else 0

    def _number(self, kind: str, at: int) -> int:
        if at < 0:
            raise _Foreign("a place before the beginning")
        return int(struct.unpack_from(kind, self.data, at)[0])

    def number(self, field: int, kind: str = "<i", default: int = 0) -> int:
        """A scalar field."""
        place = self._place(field)
        return self._number(kind, place) if place else default

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """(place of the first item, count) of a list whose items take `size` bytes."""
        place = self._place(field)
        if not place:
            return 0, 0
        start = place + self._number("<I", place)
        count = self._number("<I", start)
        if start + 4 + count * size > len(self.data):
            raise _Foreign("a list longer than the file")
        return start + 4, count

    def numbers(self, field: int) -> tuple[int, ...]:
        """A list of 32-bit integers."""
        start, count = self._vector(field, 4)
        if count > _MAX_ITEMS:
            raise _Foreign("shorter lists")
        return struct.unpack_from(f"<{count}i", self.data, start)

    def raw(self, field: int) -> memoryview:
        """A list of bytes."""
        start, count = self._vector(field, 1)
        return memoryview(self.data)[start : start + count]

    def table(self, field: int) -> _Table | None:
        """The table that a field points to."""
        place = self._place(field)
        return _Table(self.data, place + self._number("<I", place)) if place else None

    def tables(self, field: int) -> list[_Table]:
        """A list of tables."""
        start, count = self._vector(field, 4)
        if count > _MAX_ITEMS:
            raise _Foreign("fewer tensors and operations")
        places = (start + 4 * index for index in range(count))
        return [_Table(self.data, place + self._number("<I", place)) for place in places]


def read_tflite(path: Path) -> Graph:
    """The first (only) network of a file.

    Raises:
        WeightsError: missing, damaged, too large, or with operations or types that are not known.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _Foreign(f"at most {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise _Foreign("the mark TFL3")
        model = _Table(data, struct.unpack_from("<I", data)[0])
        return _graph(model)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror}") from None
    except (_Foreign, struct.error, ValueError, LookupError, OverflowError) as error:
        raise WeightsError(
            f"{path.name} is not a TensorFlow Lite network that is known, or it is damaged (expected {error}): "
            "fetch it again"
        ) from None


def _graph(model: _Table) -> Graph:
    codes, graphs, buffers = model.tables(1), model.tables(2), model.tables(4)
    if len(graphs) != 1:
        raise _Foreign("one network")
    tensors = graphs[0].tables(0)
    shapes = tuple(tensor.numbers(0) for tensor in tensors)
    if any(len(shape) > 4 or not all(0 < side < _MAX_SIDE for side in shape) for shape in shapes):
        raise _Foreign("shapes of up to four sides")
    constants = {}
    for index, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        raw = buffers[tensor.number(2, "<I")].raw(0)
        if len(raw):
            values = np.frombuffer(raw, _DTYPES[tensor.number(1, "<b")]).reshape(shape)
            constants[index] = torch.from_numpy(values.astype(np.int64 if values.dtype.kind == "i" else np.float32))
    nodes = tuple(_node(operator, codes, len(tensors)) for operator in graphs[0].tables(3))
    return Graph(shapes, constants, nodes, graphs[0].numbers(1), graphs[0].numbers(2))


def _node(operator: _Table, codes: list[_Table], count: int) -> Node:
    code = codes[operator.number(0, "<I")]
    number = max(code.number(0, "<b"), code.number(3))  # files of before 2020 have the first field only
    inputs, outputs = operator.numbers(1), operator.numbers(2)
    if not all(-1 <= index < count for index in (*inputs, *outputs)) or len(outputs) != 1:
        raise _Foreign("operations on tensors that there are")
    if number == _CUSTOM:
        if bytes(code.raw(1)) != b"Convolution2DTransposeBias":
            raise _Foreign("a known operation of MediaPipe's own")
        padding, columns, rows = struct.unpack_from("<3i", operator.raw(5))
        return Node("transposed_conv", inputs, outputs, {"same": padding == 1, "stride": (rows, columns)})
    kind = _OPERATIONS.get(number)
    if kind is None:
        raise _Foreign(f"no operation {number}")
    options = operator.table(4)
    return Node(kind, inputs, outputs, _OPTIONS[kind](options) if options and kind in _OPTIONS else {})


def _activation(options: _Table, field: int) -> dict[str, Any]:
    return {"activation": _ACTIVATIONS[options.number(field, "<b")]}


def _windows(options: _Table) -> dict[str, Any]:
    return {"same": options.number(0, "<b") == 0, "stride": (options.number(2), options.number(1))}


def _conv(options: _Table) -> dict[str, Any]:
    dilation = {"dilation": (options.number(5, default=1), options.number(4, default=1))}
    return _windows(options) | _activation(options, 3) | dilation


def _depthwise(options: _Table) -> dict[str, Any]:
    dilation = {"dilation": (options.number(6, default=1), options.number(5, default=1))}
    return _windows(options) | _activation(options, 4) | dilation


def _pool(options: _Table) -> dict[str, Any]:
    return _windows(options) | _activation(options, 5) | {"kernel": (options.number(4), options.number(3))}


def _average_pool(options: _Table) -> dict[str, Any]:
    found = _pool(options)
    if found["same"]:
        raise _Foreign("an average without padding")
    return found


def _resize(options: _Table) -> dict[str, Any]:
    align = bool(options.number(2, "<b"))
    if not (align or options.number(3, "<b")):
        raise _Foreign("a resize by pixel centres or corners")
    return {"align_corners": align}


_OPTIONS: dict[str, Callable[[_Table], dict[str, Any]]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "average_pool": _average_pool,
    "max_pool": _pool,
    "add": lambda options: _activation(options, 0),
    "concatenate": lambda options: {"axis": options.number(0)} | _activation(options, 1),
    "fully_connected": lambda options: _activation(options, 0),
    "mul": lambda options: _activation(options, 0),
    "resize_bilinear": _resize,
}
