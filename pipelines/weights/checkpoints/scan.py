"""Looks through a PyTorch checkpoint before it is opened: what is in it, and whether its sizes can be true.

Two layouts exist. The newer is a zip archive, stored and never compressed: ``NAME/data.pkl`` describes the objects,
``NAME/data/KEY`` holds the numbers. The older ("legacy") is a row of five pickles - magic number, version, system,
objects, storage keys - followed by the numbers of each storage, each behind its count (8 bytes, little-endian). Both
are read here by the machine of `pipelines.weights.checkpoints.unpickle`, which runs no code and allocates nothing for numbers.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.pickled import DamagedPickle, RefusedPickle, Symbol
from pipelines.weights.checkpoints.stubs import MAX_SIDE, STORAGES, Storage, TensorSpec, table
from pipelines.weights.checkpoints.unpickle import PickleMachine

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_PICKLE_BYTES = 64 << 20
MAX_RECORDS = 100_000
MAX_NODES = 2_000_000
MAX_DEPTH = 64
MAX_NAME = 1000  # characters of a dotted name
SHARING = 4  # tensors may share numbers (tied weights), but not blow a file up to a multiple of its size


def scan_checkpoint(path: Path) -> Any:
    """The objects of a checkpoint, with a `TensorSpec` in the place of each tensor.

    Raises:
        WeightsError: no PyTorch checkpoint, one that wants more than tensors and plain containers, a damaged one, or
            one that claims more numbers than the file holds.
    """
    try:
        found = _scan_zip(path) if _begins_as_zip(path) else _scan_legacy_file(path)
        total = sum(spec.nbytes for _, spec in walk(found) if isinstance(spec, TensorSpec))
        if total > SHARING * path.stat().st_size:
            raise DamagedPickle("its tensors claim far more numbers than the file holds")
        return found
    except RefusedPickle as reason:
        raise WeightsError(
            f"{path.name} is refused: it holds more than tensors and plain containers ({reason}); nothing in it was run"
        ) from None
    except DamagedPickle as reason:
        raise WeightsError(
            f"{path.name} cannot be read as a PyTorch checkpoint: {reason}; get the file again"
        ) from None
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
        reason_text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path.name} cannot be read as a PyTorch checkpoint: {reason_text}") from None


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf below `value` with its dotted name, containers taken apart; never a cycle, never without an end.

    Raises:
        DamagedPickle: nested deeper than `MAX_DEPTH`, or more than `MAX_NODES` leaves and containers (a small file can
            name one list many times over).
    """
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES or len(name) > MAX_NAME:
            raise DamagedPickle("its containers are nested without end")
        if isinstance(value, dict):
            children = list(value.items())
        elif isinstance(value, (list, tuple)):
            children = list(enumerate(value))
        else:
            yield name, value
            continue
        if seen + len(waiting) + len(children) > MAX_NODES:
            raise DamagedPickle("its containers are nested without end")
        below = [(f"{name}.{key}" if name else str(key), child, depth + 1) for key, child in children]
        waiting.extend(reversed(below))


def _begins_as_zip(path: Path) -> bool:
    # By the first bytes, as torch decides: a file that is both must not be judged as one and read as the other.
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


# -- zip archives ------------------------------------------------------------------------------------------------------


def _scan_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: record for record in archive.infolist()}
        _check_records(path, archive.infolist())
        pickles = [name for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DamagedPickle("it is a zip archive, but no checkpoint of torch.save")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}constants.pkl" in records:
            raise RefusedPickle("a TorchScript program")
        if records[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise DamagedPickle(f"its description is larger than {MAX_PICKLE_BYTES} bytes")
        sizes = {name.removeprefix(f"{prefix}data/"): record.file_size for name, record in records.items()}
        machine = PickleMachine(table(), _zip_storages(sizes))
        return machine.load(io.BytesIO(archive.read(pickles[0])))


def _check_records(path: Path, records: list[zipfile.ZipInfo]) -> None:
    """No record is compressed, none comes twice, and together they are no larger than the file: no zip bomb."""
    size = path.stat().st_size
    if len(records) > MAX_RECORDS or len({record.filename for record in records}) != len(records):
        raise DamagedPickle("its list of records is not one that torch.save writes")
    if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
        raise DamagedPickle("its records are compressed or encrypted, which torch.save never does")
    if any(record.header_offset >= size for record in records) or sum(record.file_size for record in records) > size:
        raise DamagedPickle("its records claim more bytes than the file has")


def _zip_storages(sizes: dict[str, int]) -> Callable[[Any], Storage]:
    known: dict[str, Storage] = {}

    def find(ident: Any) -> Storage:
        kind, key, count = _storage_id(ident, 5)
        storage = Storage(STORAGES[kind], count)
        if sizes.get(key) != storage.nbytes:
            raise DamagedPickle(f"the record of storage {key[:40]!r} is missing or not as large as it claims to be")
        if known.setdefault(key, storage).dtype != storage.dtype:
            raise DamagedPickle("a storage of two types")
        return known[key]

    return find


def _storage_id(ident: Any, length: int) -> tuple[str, str, int]:
    """(type, key, count) of a persistent id ``("storage", type, key, place, count, ...)``."""
    if type(ident) is not tuple or len(ident) != length or ident[0] != "storage":
        raise RefusedPickle("a persistent id that is no storage")
    _, kind, key, _, count, *rest = ident
    if not isinstance(kind, Symbol) or kind.name not in STORAGES or any(each is not None for each in rest):
        raise RefusedPickle("a storage of a foreign type")
    if type(key) not in (str, int) or type(count) is not int or not 0 <= count < MAX_SIDE:
        raise DamagedPickle("a storage without a key or a size")
    return kind.name, str(key), count


# -- legacy files ------------------------------------------------------------------------------------------------------


def _scan_legacy_file(path: Path) -> Any:
    size = path.stat().st_size
    if not size:
        raise DamagedPickle("it is empty")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return read_legacy(cast(BinaryIO, view), size, keep=False)


def read_legacy(stream: BinaryIO, size: int, keep: bool) -> Any:
    """The objects of a legacy checkpoint.

    Args:
        stream: over a buffer, at its start (see `PickleMachine.load`).
        size: bytes in all.
        keep: True = the numbers are kept in the storages (`Storage.data`).

    Raises:
        RefusedPickle, DamagedPickle: as the machine; also storages that are larger than the rest of the file.
    """
    header = PickleMachine({})
    if header.load(stream) != MAGIC:
        raise RefusedPickle("a pickle that is no checkpoint")
    if header.load(stream) != PROTOCOL:
        raise DamagedPickle("an unknown version of the format")
    header.load(stream)
    storages: dict[str, Storage] = {}
    left = size

    def find(ident: Any) -> Storage:
        nonlocal left
        kind, key, count = _storage_id(ident, 6)
        if key not in storages:
            storages[key] = Storage(STORAGES[kind], count)
            left -= storages[key].nbytes
        storage = storages[key]
        if (storage.dtype, storage.count) != (STORAGES[kind], count):
            raise DamagedPickle("a storage of two types or sizes")
        if left < 0:
            raise DamagedPickle("its storages claim more bytes than the file has")
        return storage

    found = PickleMachine(table(), find).load(stream)
    keys = header.load(stream)
    plain = isinstance(keys, list) and all(type(key) in (str, int) for key in keys)
    if not plain or sorted(map(str, keys)) != sorted(storages):
        raise DamagedPickle("its list of storages is not the one that its objects name")
    for key in keys:
        _read_storage(stream, size, storages[str(key)], keep)
    return found


def _read_storage(stream: BinaryIO, size: int, storage: Storage, keep: bool) -> None:
    if int.from_bytes(stream.read(8), "little") != storage.count or stream.tell() + storage.nbytes > size:
        raise DamagedPickle("it is cut short, or a storage is not as large as it claims to be")
    if keep:
        storage.data = memoryview(stream.read(storage.nbytes))
    else:
        stream.seek(storage.nbytes, io.SEEK_CUR)
