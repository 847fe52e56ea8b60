"""Malicious pickles of every kind: none runs anything, none takes the machine down, each is refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.detect import detect
from pipelines.weights.checkpoints.pickled import DamagedPickle, RefusedPickle
from pipelines.weights.checkpoints.scan import scan_checkpoint, walk
from pipelines.weights.checkpoints.stubs import table
from pipelines.weights.checkpoints.unpickle import PickleMachine

PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(module: str, name: str, *arguments: str) -> bytes:
    """GLOBAL, a tuple of texts, REDUCE."""
    return f"c{module}\n{name}\n(".encode() + b"".join(map(text, arguments)) + b"tR"


def stacked(module: str, name: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(name) + b"\x93"


def evil(command: str) -> dict[str, bytes]:
    """Name -> a pickle that would run `command` in Python's own unpickler, or takes part in doing so."""
    state = b"}" + text("x") + text(command) + b"s"
    return {
        "os.system": call("os", "system", command),
        "posix.system": call("posix", "system", command),
        "nt.system": call("nt", "system", command),
        "subprocess": call("subprocess", "getoutput", command),
        "builtins.eval": call("builtins", "eval", f"__import__('os').system({command!r})"),
        "builtins.exec": call("builtins", "exec", f"import os; os.system({command!r})"),
        "__builtin__.eval": call("__builtin__", "eval", "1"),
        "import": call("builtins", "__import__", "os"),
        "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\n" + text("__call__") + b"tR",
        "getattr-allowed": b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\n" + text("__globals__") + b"tR",
        "dotted": stacked("collections", "OrderedDict.__init__"),
        "dotted-module": stacked("collections.OrderedDict", "__init__"),
        "split-module": stacked("torch", "_utils._rebuild_tensor_v2.__globals__"),
        "partial": b"cfunctools\npartial\n(cos\nsystem\n" + text(command) + b"tR",
        "methodcaller": call("operator", "methodcaller", "system", command),
        "attrgetter": call("operator", "attrgetter", "system"),
        "codecs.decode": call("_codecs", "decode", command, "rot13"),
        "codecs.encode-foreign": call("_codecs", "encode", command, "idna"),
        "torch.load": call("torch", "load", "x"),
        "torch.serialization.load": call("torch.serialization", "load", "x"),
        "torch.hub": call("torch.hub", "load", "evil/repository", "net"),
        "torch-jit": call("torch.jit", "load", "x"),
        "pickle.loads": b"cpickle\nloads\n(" + b"C\x04\x80\x04N." + b"tR",
        "numpy.load": call("numpy", "load", "x"),
        "fromfile": call("numpy", "fromfile", "/etc/passwd"),
        "open": call("io", "open", "/etc/passwd"),
        "runpy": call("runpy", "run_path", "x"),
        "ctypes": call("ctypes", "CDLL", "x"),
        "class": call("types", "CodeType"),
        "INST": f"(S'{command}'\nios\nsystem\n".encode(),
        "OBJ": b"(cos\nsystem\n" + text(command) + b"o",
        "NEWOBJ": stacked("os", "popen") + b"(" + text(command) + b"t\x81",
        "NEWOBJ_EX": stacked("os", "popen") + b"(" + text(command) + b"t}\x92",
        "NEWOBJ_EX-allowed": stacked("collections", "OrderedDict") + b")}\x92",
        "BUILD-symbol": stacked("collections", "OrderedDict") + state + b"b",
        "BUILD-setstate": b"}" + state + b"b",
        "BUILD-list": b"]" + state + b"b",
        "BUILD-slots": b"](}" + text("__class__") + text(command) + b"stb",
        "EXT1": b"\x82\x01",
        "EXT2": b"\x83\x01\x00",
        "EXT4": b"\x84\x01\x00\x00\x00",
        "PERSID": b"Pevil\n",
        "BINPERSID-foreign": text("module") + b"Q",
        "BINPERSID-source": b"(" + text("module") + text("a") + text("b.py") + text("print(1)") + b"tQ",
        "reduce-text": text("os.system") + b"(" + text(command) + b"tR",
        "reduce-bound": b"]" + b")R",
        "storage-called": stacked("torch", "FloatStorage") + b"(K\x05tR",
        "parameter-of-text": call("torch._utils", "_rebuild_parameter", command, "", ""),
        "tensor-of-text": call("torch._utils", "_rebuild_tensor_v2", command, "", "", ""),
        "set-of-lists": b"cbuiltins\nset\n(](]" + b"tR",
        "array-of-objects": b"cnumpy\ndtype\n(X\x01\x00\x00\x00OtR",
        "array-of-class": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tC\x01btR",
        "append-to-dict": b"}N" + b"a",
        "items-of-list": b"]NN" + b"s",
        "unhashable": b"}" + b"]" + b"N" + b"s",
        "bytearray": b"\x96" + struct.pack("<Q", 1 << 40),
        "next-buffer": b"\x97",
    }


NAMES = sorted(evil(""))


def as_pkl(body: bytes) -> Callable[[Path], Path]:
    return lambda folder: _write(folder / "net.pkl", body)


def as_zip(body: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "net.pt", "w") as archive:
            archive.writestr("net/data.pkl", body)
            archive.writestr("net/version", "3\n")
            archive.writestr("net/byteorder", "little")
        return folder / "net.pt"

    return make


def as_legacy(body: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        buffer = io.BytesIO()
        torch.save({}, buffer, _use_new_zipfile_serialization=False)
        good = buffer.getvalue()
        head = good[: good.index(pickle.dumps({}, 2))]
        return _write(folder / "net.pth", head + body + pickle.dumps([], 2))

    return make


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("shape", [as_pkl, as_zip, as_legacy])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_and_the_refusal_is_one_sentence(
    tmp_path: Path, name: str, shape: Callable[[bytes], Callable[[Path], Path]]
) -> None:
    target = tmp_path / "ran"
    path = shape(PROTO + evil(f"mkdir {target}")[name] + b".")(tmp_path)
    with pytest.raises(WeightsError, match=path.name) as caught:
        detect(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5
    assert not target.exists()


def test_the_malice_is_real(tmp_path: Path) -> None:
    """The first of those pickles does run in Python's own unpickler: the test above could fail."""
    pickle.loads(PROTO + evil(f"mkdir {tmp_path / 'ran'}")["posix.system"] + b".")
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("shape", [as_pkl, as_zip, as_legacy])
def test_objects_whose_reduction_is_hidden_deep_are_found(
    tmp_path: Path, shape: Callable[[bytes], Callable[[Path], Path]]
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    value = {"state_dict": {"a": [({"b": Evil()},)]}, "opts": {}}
    for protocol in range(1, 6):
        with pytest.raises(WeightsError, match="refused"):
            detect(shape(pickle.dumps(value, protocol))(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_storage_inside_an_nvidia_pickle_is_no_way_in(tmp_path: Path) -> None:
    inner = as_legacy(PROTO + evil(f"mkdir {tmp_path / 'ran'}")["os.system"] + b".")(tmp_path).read_bytes()
    body = b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", len(inner)) + inner + b"tR."
    with pytest.raises(WeightsError, match=r"the global os\.system"):
        detect(_write(tmp_path / "net.pkl", PROTO + body))
    assert not (tmp_path / "ran").exists()


def laughs(levels: int) -> bytes:
    """A list that holds the one before it ten times, and so on: 10^levels leaves in a small file."""
    body = b"]q\x00"
    for level in range(levels):
        body += b"(" + b"h" + bytes([level])
        body += (b"h" + bytes([level])) * 9 + b"lq" + bytes([level + 1])
    return body


BOMBS = {
    "billion-laughs": b"}" + text("a") + laughs(40) + b"s",
    "self": b"]q\x00h\x00a",
    "memo-index": b"Nr\xff\xff\xff\x7f",
    "memo-index-text": b"Np99999999999999999999\n",
    "frame": b"\x95" + struct.pack("<Q", 1 << 60) + b"N",
    "long-bytes": b"\x8e" + struct.pack("<Q", 1 << 50),
    "long-text": b"\x8d" + struct.pack("<Q", 1 << 62),
    "long-number": b"\x8b" + struct.pack("<i", (1 << 31) - 1),
    "negative-number": b"\x8b" + struct.pack("<i", -5),
    "digits": b"I" + b"9" * 100_000 + b"\n",
    "deep": b"(" * 20_000 + b"l" * 20_000,
    "deep-tuple": b")" + b"\x85" * 20_000,
    "laughs-as-text": laughs(40) + b"r\xe8\x03\x00\x00" + b"ctorch\ndevice\n" + b"j\xe8\x03\x00\x00" + b"\x85R",
    "copies-of-text": b"(" + text("a" * 2**20) + b"q\x00" + b"c_codecs\nencode\nh\x00\x85R" * 3000 + b"l",
    "copies-of-lists": b"(" + b"N" * 10**5 + b"lq\x00(" + b"ctorch\nSize\nh\x00\x85R" * 10**4 + b"l",
    "huge-shape": b"".join([b"ctorch._utils\n_rebuild_tensor_v2\n", b"\x8a\xff" + b"\x7f" * 255, b"\x85R"]),
    "huge-key": b"}\x8b" + struct.pack("<i", 10**5) + b"\x7f" * 10**5 + b"Ns",
    "no-stack": b"0" * 10,
    "no-mark": b"t",
    "unknown": b"\xff",
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("shape", [as_pkl, as_zip, as_legacy])
@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_refused_quickly_and_without_memory(
    tmp_path: Path, name: str, shape: Callable[[bytes], Callable[[Path], Path]]
) -> None:
    path = shape(PROTO + BOMBS[name] + b".")(tmp_path)
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(WeightsError, match=path.name):
        detect(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - started < 20
    assert peak < 1 << 29


def test_too_many_steps_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.weights.checkpoints.unpickle.MAX_OPERATIONS", 1000)
    with pytest.raises(DamagedPickle, match="1000 steps"):
        PickleMachine({}).load(io.BytesIO(b"N" * 2000 + b"."))


def test_a_list_named_many_times_is_not_walked_for_ever() -> None:
    value: Any = "leaf"
    for _ in range(40):
        value = [value] * 10
    with pytest.raises(DamagedPickle, match="without end"):
        list(walk(value))


# -- sizes that cannot be true -------------------------------------------------------------------------------------------


def tensor(key: str, count: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A tensor as a checkpoint of the newer kind describes it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    ident = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    ident += b"\x8a\x08" + struct.pack("<q", count) + b"tQ"
    head = b"ctorch._utils\n_rebuild_tensor_v2\n(" + ident + b"\x8a\x08" + struct.pack("<q", offset)
    return head + numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"


def zipped(folder: Path, body: bytes, data: bytes = bytes(64), **how: Any) -> Path:
    with zipfile.ZipFile(folder / "net.pt", "w", **how) as archive:
        archive.writestr("net/data.pkl", PROTO + b"}" + text("a") + body + b"s.")
        archive.writestr("net/data/0", data)
        archive.writestr("net/version", "3\n")
    return folder / "net.pt"


def test_a_true_tensor_passes(tmp_path: Path) -> None:
    found = scan_checkpoint(zipped(tmp_path, tensor("0", 16, (4, 4), (4, 1))))
    assert found["a"].shape == (4, 4)


@pytest.mark.parametrize(
    "body",
    [
        tensor("0", 1 << 40, (1 << 40,), (1,)),
        tensor("0", 16, (1 << 40,), (1,)),
        tensor("0", 16, (1 << 20, 1 << 20), (0, 0)),
        tensor("0", 16, (1 << 62, 1 << 62, 4), (0, 0, 0)),
        tensor("0", 16, (4,), (100,)),
        tensor("0", 16, (4,), (1,), offset=14),
        tensor("0", 16, (4,), (-1,)),
        tensor("0", 16, (-4,), (1,)),
        tensor("0", 16, (4,), (1, 1)),
        tensor("0", 16, (1,) * 40, (1,) * 40),
        tensor("0", -1, (0,), (1,)),
        tensor("9", 16, (4,), (1,)),
        tensor("0", 15, (4,), (1,)),
    ],
    ids=["storage", "shape", "stride-0", "overflow", "stride", "offset", "negative-stride", "negative", "dims", "many-dims",
         "negative-count", "no-record", "wrong-record"],
)  # fmt: skip
def test_sizes_that_the_file_does_not_have_are_refused_before_anything_is_allocated(
    tmp_path: Path, body: bytes
) -> None:
    with pytest.raises(WeightsError, match=r"net\.pt cannot be read"):
        scan_checkpoint(zipped(tmp_path, body))


def test_many_tensors_over_the_same_numbers_are_refused(tmp_path: Path) -> None:
    body = b"(" + b"".join(tensor("0", 1 << 16, (1 << 16,), (1,)) for _ in range(50)) + b"l"
    with pytest.raises(WeightsError, match="far more numbers than the file holds"):
        scan_checkpoint(zipped(tmp_path, body, bytes(1 << 18)))


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, tensor("0", 1 << 22, (1 << 22,), (1,)), bytes(1 << 24), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 16
    with pytest.raises(WeightsError, match="compressed"):
        scan_checkpoint(path)


def test_a_record_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, tensor("0", 16, (4,), (1,)))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"net/data/0") - 46  # its entry in the archive's directory
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="claim more bytes"):
        scan_checkpoint(path)


@pytest.mark.parametrize("change", ["double", "program", "no-pickle"])
def test_archives_that_torch_never_writes_are_refused(tmp_path: Path, change: str) -> None:
    path = zipped(tmp_path, b"N")
    with zipfile.ZipFile(path, "w") as archive:
        for name in {
            "double": ["net/data.pkl", "other/data.pkl"],
            "program": ["net/data.pkl", "net/constants.pkl"],
            "no-pickle": ["net/version"],
        }[change]:
            archive.writestr(name, PROTO + b"N.")
    with pytest.raises(WeightsError, match=r"net\.pt"):
        scan_checkpoint(path)


def test_a_legacy_storage_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "net.pth").read_bytes()
    at = data.index(b"M\xe8\x03")  # the count, 1000, in the persistent id
    for count in (2000, 60_000):
        (tmp_path / "bad.pth").write_bytes(data[: at + 1] + struct.pack("<H", count) + data[at + 3 :])
        with pytest.raises(WeightsError, match=r"bad\.pth cannot be read"):
            scan_checkpoint(tmp_path / "bad.pth")


def test_a_file_that_is_both_kinds_is_judged_by_its_first_bytes(tmp_path: Path) -> None:
    """Torch looks at the first bytes: a harmless archive behind a malicious pickle must not vouch for it."""
    zipped(tmp_path, tensor("0", 16, (4,), (1,)))
    evil_head = as_legacy(PROTO + evil("true")["os.system"] + b".")(tmp_path).read_bytes()
    with pytest.raises(WeightsError, match=r"the global os\.system"):
        scan_checkpoint(_write(tmp_path / "both.pt", evil_head + (tmp_path / "net.pt").read_bytes()))


# -- anything at all -----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_one_of_two_errors(data: bytes) -> None:
    with contextlib.suppress(RefusedPickle, DamagedPickle):
        PickleMachine(table(), lambda ident: ident).load(io.BytesIO(data))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*evil("true").values(), *BOMBS.values(), b"(", b"t", b"R", b"b", b"0", b"s"]), max_size=8)
)
def test_any_mixture_of_malice_is_a_value_or_one_of_two_errors(pieces: list[bytes]) -> None:
    with contextlib.suppress(RefusedPickle, DamagedPickle):
        PickleMachine(table(), None).load(io.BytesIO(b"".join(pieces)[:100_000] + b"."))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_out_as_they_went_in(protocol: int) -> None:
    value = {"a": [1, -2, 1 << 70, 2.5, None, True, False, "text", b"bytes"], "b": (1, (2, 3, 4, 5), ()), "c": {1, 2}}
    data = pickle.dumps(value, protocol)
    assert PickleMachine(table()).load(io.BytesIO(data)) == value
