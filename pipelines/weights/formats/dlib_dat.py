"""Read the parameters of dlib's face descriptor network from its `.dat` file, without dlib and without running code.

dlib (King, JMLR 2009) writes a network from the outside in: first one version number per layer, from the loss down to
the input, then the details of each layer from the input up. Two encodings cover all of it: an integer is one control
byte (number of bytes; the top bit is the sign) followed by its little-endian bytes; a real number is two such
integers, mantissa and binary exponent. Tensors are raw little-endian float32 after their four sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import WeightsError

MAX_BYTES = 256 * 1024 * 1024  # dlib's own file is 22 MB; a foreign file is refused before it is read
_WRAPPER, _LAYER, _FIRST_LAYER = 1, 2, 3  # versions: tag or skip layer, computing layer, layer that holds the input
_NAME_BYTES = 32
_MAX_LAYERS = 1000  # dlib's own network has 132


class _Foreign(Exception):
    """The bytes are not what the format asks for; the text says what was expected."""


class _Cursor:
    """Takes dlib's basic values off a byte string; every step checks that the bytes are there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise _Foreign("more bytes than the file has")
        self._at += count
        return self._data[self._at - count : self._at]

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x0F
        if not 1 <= size <= 8 or control & 0x70:
            raise _Foreign("an integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def reals(self, count: int) -> None:
        """Skips real numbers; none of those in a layer (learning rates, decay) matters after training."""
        self.integers(2 * count)

    def flags(self, count: int) -> None:
        if set(self.take(count)) - set(b"01"):
            raise _Foreign("a flag")

    def text(self) -> str:
        size = self.integer()
        if not 0 <= size <= _NAME_BYTES:
            raise _Foreign("a layer name")
        return self.take(size).decode("ascii", errors="replace")

    def expect(self, value: int, what: str) -> None:
        if self.integer() != value:
            raise _Foreign(what)

    def tensor(self) -> np.ndarray:
        """float32, n x k x rows x columns. Memory is taken only for bytes that the file really has."""
        self.expect(2, "a tensor of version 2")
        shape = self.integers(4)
        count = math.prod(shape)
        if min(shape) < 0 or max(shape) > MAX_BYTES or (not count and any(shape)):
            raise _Foreign("a tensor's size")
        return np.frombuffer(self.take(4 * count), dtype="<f4").reshape(shape)

    def alias(self) -> tuple[int, ...]:
        """The sizes of a part of a parameter tensor."""
        self.expect(1, "an alias of version 1")
        return self.integers(4)

    def end(self) -> None:
        if self._at != len(self._data):
            raise _Foreign("the end of the file")


def read_dlib_resnet(path: Path) -> dict[str, Tensor]:
    """The parameters of `dlib_face_recognition_resnet_model_v1.dat`, in the order in which a picture meets them.

    Args:
        path: the .dat file.

    Returns:
        `con.K.weight` (out x in x rows x columns) and `con.K.bias` (out), `affine.K.weight` (gamma) and
        `affine.K.bias` (beta), K counting from the input; `fc.weight` (out x in, already transposed for
        `torch.nn.functional.linear`). float32 on the CPU.

    Raises:
        WeightsError: the file is missing, cut short, too large, or not a network of that kind.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _Foreign(f"at most {MAX_BYTES // 2**20} MB")
        return _network(_Cursor(path.read_bytes()))
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror}") from None
    except _Foreign as error:
        raise WeightsError(
            f"{path.name} is not a dlib face descriptor network, or it is cut short (expected {error}); "
            "fetch dlib_face_recognition_resnet_model_v1.dat again"
        ) from None


def _network(cursor: _Cursor) -> dict[str, Tensor]:
    cursor.expect(1, "a loss layer of version 1")
    if not cursor.text().startswith("loss_metric_"):
        raise _Foreign("a metric loss")
    cursor.reals(2)  # margin and distance threshold of the training loss
    layers = _count_layers(cursor)
    if cursor.text() != "input_rgb_image_sized":
        raise _Foreign("an RGB input of fixed size")
    cursor.reals(3)  # channel means
    cursor.integers(2)  # sides
    found: dict[str, Tensor] = {}
    for index in range(layers):
        _layer(cursor, found)
        if index == 0:
            cursor.integer()  # the first layer also notes how many pictures one sample becomes
    cursor.end()
    return found


def _count_layers(cursor: _Cursor) -> int:
    """Counts the computing layers: tags and skips write nothing but their version."""
    layers = 1
    while (version := cursor.integer()) != _FIRST_LAYER:
        if version not in (_WRAPPER, _LAYER):
            raise _Foreign("a layer's version")
        layers += version == _LAYER
        if layers > _MAX_LAYERS:
            raise _Foreign("fewer layers")
    return layers


def _layer(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    kind = cursor.text().rstrip("0123456789").rstrip("_")
    if kind not in _DETAILS:
        raise _Foreign("a layer of a known kind")
    _DETAILS[kind](cursor, found)
    cursor.flags(3)  # set up, gradient stale, output disabled
    for _ in range(3):
        cursor.tensor()  # gradients and the cached output, empty in a published file


def _con(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    values = cursor.tensor().reshape(-1)
    cursor.integers(7)  # filters, rows, columns, strides, paddings
    weights, bias = cursor.alias(), cursor.alias()
    cursor.reals(4)
    _store(found, "con", values, weights, (bias[1],) if bias[0] == 1 else bias)


def _affine(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    values = cursor.tensor().reshape(-1)
    gamma, beta = cursor.alias(), cursor.alias()
    cursor.expect(0, "an affine layer per channel")
    _store(found, "affine", values, (gamma[1],), (beta[1],))


def _fc(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    cursor.integers(2)  # outputs, inputs
    values = cursor.tensor()
    cursor.alias()
    cursor.alias()
    cursor.expect(1, "a last layer without bias")
    cursor.reals(4)
    if values.size == 0 or values.shape[2:] != (1, 1):
        raise _Foreign("a last layer's weights")
    # dlib multiplies rows from the left, torch keeps out x in.
    found["fc.weight"] = torch.from_numpy(values[:, :, 0, 0].T.astype(np.float32, order="C"))


def _pool(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    cursor.integers(6)  # window, strides, paddings


def _bare(cursor: _Cursor, found: dict[str, Tensor]) -> None:
    """ReLU and sums have no details."""


_DETAILS: dict[str, Callable[[_Cursor, dict[str, Tensor]], None]] = {
    "con": _con,
    "affine": _affine,
    "fc": _fc,
    "max_pool": _pool,
    "avg_pool": _pool,
    "relu": _bare,
    "add_prev": _bare,
}


def _store(
    found: dict[str, Tensor], kind: str, values: np.ndarray, weight: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    """Splits one parameter array into weight and bias under the next free number of its kind."""
    index = sum(key.startswith(kind + ".") for key in found) // 2
    size = math.prod(weight)
    if min(*weight, *bias) < 1 or size + math.prod(bias) != values.size:
        raise _Foreign(f"parameters that fill a {kind} layer")
    found[f"{kind}.{index}.weight"] = torch.from_numpy(values[:size].astype(np.float32).reshape(weight))
    found[f"{kind}.{index}.bias"] = torch.from_numpy(values[size:].astype(np.float32).reshape(bias))
