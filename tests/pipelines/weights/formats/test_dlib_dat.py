"""dlib's file format, written here by hand so that reading it is tested without dlib and without the real file."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import WeightsError
from pipelines.weights.formats.dlib_dat import MAX_BYTES, read_dlib_resnet
from pipelines.weights.store import WeightStore


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: np.ndarray) -> bytes:
    return integers(2, *values.shape) + values.astype("<f4").tobytes()


def layer(name: str, details: bytes) -> bytes:
    empty = tensor(np.zeros((0, 0, 0, 0)))
    return text(name) + details + b"110" + 3 * empty


def con(weight: np.ndarray, bias: np.ndarray) -> bytes:
    values = np.concatenate((weight.ravel(), bias)).reshape(-1, 1, 1, 1)
    shape = weight.shape
    geometry = integers(shape[0], shape[2], shape[3], 1, 1, 0, 0)
    return layer("con_4", tensor(values) + geometry + integers(1, *shape, 1, 1, shape[0], 1, 1, *(1, 0) * 4))


def affine(gamma: np.ndarray, beta: np.ndarray) -> bytes:
    alias = integers(1, 1, len(gamma), 1, 1)
    return layer("affine_", tensor(np.concatenate((gamma, beta)).reshape(-1, 1, 1, 1)) + 2 * alias + integer(0))


def fc(weight: np.ndarray) -> bytes:
    inputs, outputs = weight.shape
    details = integers(outputs, inputs) + tensor(weight[:, :, None, None])
    return layer("fc_2", details + integers(1, inputs, outputs, 1, 1, 1, 0, 0, 0, 0, 1, *(1, 0) * 4))


RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(4, 3, 2, 2)).astype("f4"), RNG.normal(size=4).astype("f4")
GAMMA, BETA = RNG.normal(size=4).astype("f4"), RNG.normal(size=4).astype("f4")
LAST = RNG.normal(size=(4, 5)).astype("f4")


def network() -> bytes:
    first = con(WEIGHT, BIAS) + integer(1)
    rest = affine(GAMMA, BETA) + layer("relu_", b"") + layer("max_pool_2", integers(3, 3, 2, 2, 0, 0)) + fc(LAST)
    head = integer(1) + text("loss_metric_2") + integers(42, -10, 6, -1)  # reals: mantissa and exponent
    versions = integers(2, 2, 1, 2, 1, 2, 3)  # four computing layers, two tags, the first layer
    return head + versions + text("input_rgb_image_sized") + integers(1, 0, 2, 0, 3, 0, 150, 150) + first + rest


@pytest.fixture
def put(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(data: bytes) -> Path:
        path = tmp_path / "net.dat"
        path.write_bytes(data)
        return path

    return write


def test_every_tensor_comes_back(put) -> None:  # type: ignore[no-untyped-def]
    found = read_dlib_resnet(put(network()))
    want = {"con.0.weight": WEIGHT, "con.0.bias": BIAS, "affine.0.weight": GAMMA, "affine.0.bias": BETA}
    want["fc.weight"] = LAST.T
    assert found.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(found[key].numpy(), value)


def test_every_cut_is_refused_with_the_files_name(put) -> None:  # type: ignore[no-untyped-def]
    data = network()
    for end in range(len(data)):
        with pytest.raises(WeightsError, match=r"net\.dat .*cut short"):
            read_dlib_resnet(put(data[:end]))


@pytest.mark.parametrize(
    "data",
    [
        network() + b"\0",
        b"",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x02}q\x00.",
        network().replace(b"loss_metric", b"loss_binary"),
    ],
    ids=["trailing", "empty", "zip", "pickle", "other loss"],
)
def test_foreign_files_are_refused(put, data: bytes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WeightsError, match=r"fetch .* again"):
        read_dlib_resnet(put(data))


def test_a_claimed_size_takes_no_memory(put) -> None:  # type: ignore[no-untyped-def]
    data = network()
    start = data.index(text("con_4")) + len(text("con_4"))
    for huge in (2**28, 2**62):
        with pytest.raises(WeightsError, match="expected"):
            read_dlib_resnet(put(data[:start] + integers(2, huge, huge, 1, 1)))


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.dat"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    with pytest.raises(WeightsError, match="at most 256 MB"):
        read_dlib_resnet(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.dat cannot be read"):
        read_dlib_resnet(tmp_path / "none.dat")


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
def test_damage_gives_tensors_or_a_weights_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    rng = random.Random(seed)
    data = bytearray(network())
    for _ in range(count):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 8, 0x80, 0x88, rng.randrange(256)))
    path = tmp_path_factory.getbasetemp() / "damaged.dat"
    path.write_bytes(bytes(data))
    try:
        found = read_dlib_resnet(path)
    except WeightsError:
        return
    assert all(value.numel() <= len(data) for value in found.values())


@pytest.mark.weights
def test_the_real_file_has_29_convolutions(store: WeightStore) -> None:
    found = read_dlib_resnet(store.path("id-dlib"))
    assert sum(key.startswith("con.") and key.endswith(".weight") for key in found) == 29
    assert found["con.0.weight"].shape == (32, 3, 7, 7)
    assert found["fc.weight"].shape == (128, 256)
