"""Stand-ins for what checkpoints of PyTorch name in their pickles: tensors and arrays as plain descriptions.

Nothing of torch or numpy is called while a pickle is read: a tensor becomes a `TensorSpec`, whose size is checked
against the bytes that are really there before anything is allocated for it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.weights.checkpoints.pickled import Attributes, Bag, Built, DamagedPickle, RefusedPickle, StandIn, Symbol

MAX_DIMS = 8
MAX_SIDE = 1 << 48  # of a shape; longer numbers only cost time
STORAGES = {
    "torch:DoubleStorage": torch.float64,
    "torch:FloatStorage": torch.float32,
    "torch:HalfStorage": torch.float16,
    "torch:BFloat16Storage": torch.bfloat16,
    "torch:LongStorage": torch.int64,
    "torch:IntStorage": torch.int32,
    "torch:ShortStorage": torch.int16,
    "torch:CharStorage": torch.int8,
    "torch:ByteStorage": torch.uint8,
    "torch:BoolStorage": torch.bool,
}
_DTYPE_CODE = re.compile(r"[<>|=]?[biuf][1248]")


@dataclass
class Storage:
    """`count` numbers of one type that tensors share; `data` holds their bytes where they are in memory already."""

    dtype: torch.dtype
    count: int
    data: memoryview | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the numbers take."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as a pickle describes it, known to lie inside its storage and to be no larger than it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's own numbers."""
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def tensor(self) -> Tensor:
        """The tensor, a copy; raises DamagedPickle where its bytes were not in the file."""
        if self.storage.data is None:
            raise DamagedPickle("a tensor's numbers are missing")
        if not self.storage.count:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        flat = torch.frombuffer(bytearray(self.storage.data), dtype=self.storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).contiguous().clone()


class Array(Built):
    """Stands for a numpy array; `values` once its state was read."""

    def __init__(self) -> None:
        self.values: np.ndarray[Any, Any] = np.zeros(0)

    def build(self, state: Any) -> None:
        """State as numpy writes it: version, shape, dtype, Fortran order, bytes."""
        _, shape, dtype, fortran, raw = state
        if not (isinstance(dtype, Dtype) and isinstance(raw, (bytes, str)) and type(shape) is tuple):
            raise RefusedPickle("an array that is not made of plain numbers")
        data = raw if isinstance(raw, bytes) else raw.encode("latin-1")
        kind = dtype.numpy()
        if _product(shape) * kind.itemsize != len(data):
            raise DamagedPickle("an array is not as large as its bytes")
        self.values = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


class Dtype(Built):
    """Stands for a numpy dtype of plain numbers."""

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            raise RefusedPickle("a numpy type other than plain numbers")
        self._code, self._order = code.lstrip("<>|="), "<"

    def build(self, state: Any) -> None:
        """State as numpy writes it; only the byte order matters for plain numbers."""
        self._order = ">" if state[1] == ">" else "<"

    def numpy(self) -> np.dtype[Any]:
        """The type itself."""
        return np.dtype(self._order + self._code)


def _product(shape: tuple[Any, ...]) -> int:
    if len(shape) > MAX_DIMS or any(type(side) is not int or not 0 <= side < MAX_SIDE for side in shape):
        raise DamagedPickle("a shape that is none")
    return math.prod(shape)


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v2`, as a description.

    Raises:
        RefusedPickle: not made of plain numbers.
        DamagedPickle: it reaches outside its storage, or claims more numbers than the storage has.
    """
    if not isinstance(storage, Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise RefusedPickle("a tensor that is not made of plain numbers")
    count = _product(size)
    if type(offset) is not int or not 0 <= offset < MAX_SIDE or len(stride) != len(size) or _product(stride) < 0:
        raise DamagedPickle("a tensor with a wrong layout")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if count else 0
    if count > storage.count or (count and last >= storage.count):
        raise DamagedPickle(f"a tensor of shape {size} is larger than the {storage.count} numbers it is made of")
    return TensorSpec(storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, TensorSpec):
        raise RefusedPickle("a parameter that is no tensor")
    return data


def _never(*_: Any) -> Any:
    raise RefusedPickle("calling a type")


def _size(values: Any = ()) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)):
        raise RefusedPickle("a size that is no list")
    return tuple(values)


def _set(values: Any = ()) -> set[Any]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, (str, int)) for value in values):
        raise RefusedPickle("a set of anything but names and numbers")
    return set(values)


def _ordered(items: Any = ()) -> Bag:
    """OrderedDict; its pickles of Python 2 carry the items as a list of pairs."""
    bag = Bag()
    for key, value in items:
        if not isinstance(key, (str, int)):
            raise RefusedPickle("a dictionary key that is neither text nor number")
        bag[key] = value
    return bag


def _array(kind: Any, *_: Any) -> Array:
    if not isinstance(kind, Symbol) or kind.name != "numpy:ndarray":
        raise RefusedPickle("an array of a foreign class")
    return Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes) or len(data) != dtype.numpy().itemsize:
        raise RefusedPickle("a number of a foreign class")
    return np.frombuffer(data, dtype.numpy())[0].item()


def _device(*words: Any) -> str:
    if not all(isinstance(word, str) or (type(word) is int and 0 <= word < MAX_SIDE) for word in words):
        raise RefusedPickle("a device that is none")  # text of nested lists could grow without end
    return ":".join(map(str, words))


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickle("a foreign text encoding")
    return text.encode("latin-1")


def table() -> dict[str, StandIn]:
    """What both kinds of file may name: full name, ``module:name``, -> stand-in."""
    found: dict[str, StandIn] = {
        "torch._utils:_rebuild_tensor": rebuild_tensor,
        "torch._utils:_rebuild_tensor_v2": rebuild_tensor,
        "torch._utils:_rebuild_parameter": _parameter,
        "torch:Size": _size,
        "torch:device": _device,
        "collections:OrderedDict": _ordered,
        "argparse:Namespace": Attributes,
        "builtins:set": _set,
        "__builtin__:set": _set,
        "_codecs:encode": _latin,
        "numpy:dtype": lambda code, *_: Dtype(code),
        "numpy:ndarray": _never,
    }
    found |= dict.fromkeys(STORAGES, _never)
    found |= {str(dtype).replace(".", ":", 1): _never for dtype in STORAGES.values()}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found |= {f"{module}:_reconstruct": _array, f"{module}:scalar": _scalar}
    return found
