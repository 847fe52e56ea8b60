"""Every file that a person may hand over: whatever is in it, only the project's own errors come out."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from typer.testing import CliRunner

from ganinv_cli.app import app, read_config
from pipelines.errors import GanInvError, UsageError, WeightsError
from pipelines.records.manifest import Record, read_manifest
from pipelines.stages.edit.direction_files import read_directions
from pipelines.weights.catalogue import catalogue_path, load_catalogue

LINE = Record(
    "a", "/p/a.png", "00", outputs={"face": "a.png"}, quad=((0, 0), (0, 1), (1, 1), (1, 0)), stat=(1, 2)
).to_line()
DEEP = b"[" * 100_000
CATALOGUE = catalogue_path().read_bytes()
CONFIG = b'[align]\nsize = 512\nfaces = "all"\nmin-score = 0.5\noverwrite = true\n[edit]\nattr = ["smile=+2"]\n'
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


def few(examples: int) -> settings:
    """The same examples every time, so that the suite's verdict and time do not depend on luck; raise the numbers to hunt."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@contextmanager
def file(data: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


def only(kind: type[GanInvError], path: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives, or None where it raises `kind`, with a sentence that names the file. All else is a failure."""
    try:
        return read()
    except kind as error:
        sentence = str(error)
    assert path.name in sentence
    assert len(sentence) < 4000
    return None


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A good file with a few bytes, or a piece, replaced, doubled or cut out."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 200])))
        data[start:stop] = draw(
            st.binary(max_size=6)
            | st.sampled_from([b'"', b"[", b"]\n", b"=", b"1e999", b"\n", bytes(data[start:stop]) * 2])
        )
    return bytes(data)


@few(60)
@given(st.binary(max_size=200) | damaged(LINE.encode() * 2))
@example(DEEP + b"\n")
@example(b"1" * 5000 + b"\n")
def test_manifest_bytes(data: bytes) -> None:
    with file(data, "manifest.jsonl") as path:
        records = only(UsageError, path, lambda: read_manifest(path.parent))
        assert all(isinstance(record, Record) for record in (records or {}).values())


@few(100)
@given(st.sampled_from(sorted(json.loads(LINE))), plain)
@example("key", [])
@example("quad", [[10**400, 0]] * 4)
@example("outputs", {"face": 7})
def test_manifest_fields(name: str, value: Any) -> None:
    line = json.dumps(json.loads(LINE) | {name: value}).encode() + b"\n"
    with file(line, "manifest.jsonl") as path:
        try:
            [record] = read_manifest(path.parent).values()
        except UsageError:
            return
        assert isinstance(record.key, str)
        assert isinstance(record.to_line(), str), "what can be read can be written"
        assert all(isinstance(path, str) for path in record.outputs.values())


@few(60)
@given(st.binary(max_size=100) | damaged(CONFIG))
@example(b"a = " + DEEP)
@example(b'[align]\nsize = "big"\n')
def test_config_bytes(data: bytes) -> None:
    with file(data, "ganinv.toml") as path:
        only(UsageError, path, lambda: read_config(path, typer.main.get_command(app)))


OPTIONS = [
    "size",
    "faces",
    "min-score",
    "output",
    "device",
    "shard",
    "limit",
    "resume",
    "retry_failed",
    "num-workers",
    "seed",
    "format",
]
toml_values = st.sampled_from(
    [
        "1",
        "-1",
        "0",
        "1.5",
        "nan",
        "inf",
        "true",
        '""',
        '"x"',
        '"1/0"',
        "[]",
        "[1]",
        "[[1]]",
        "{}",
        "{a = 1}",
        "1979-05-27",
        '"\\u0000"',
        "1" * 30,
    ]
)


@few(25)
@given(st.dictionaries(st.sampled_from(OPTIONS), toml_values, min_size=1, max_size=3))
def test_config_values_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANINV_OFFLINE", "1")
    config = tmp_path / "options.toml"
    config.write_text("[align]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    result = CliRunner().invoke(app, ["--config", str(config), "align", "nowhere"])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "bug" not in result.output


@few(60)
@given(st.binary(max_size=100) | damaged(CATALOGUE))
@example(b"a = " + DEEP)
@example(b"[a]\nname = 1\n")
def test_catalogue_bytes(data: bytes) -> None:
    with file(data, "weights.toml") as path:
        only(WeightsError, path, lambda: load_catalogue(path))


@few(60)
@given(
    st.sampled_from(["role", "format", "filename", "sources", "sha256", "bytes", "params", "requires", "licence"]),
    toml_values,
)
def test_catalogue_fields(name: str, value: str) -> None:
    fields = {
        "role": '"sample"',
        "arch": '"a"',
        "format": '"image"',
        "filename": '"a.jpg"',
        "licence": '"x"',
        "origin": '"x"',
    }
    text = "[a]\n" + "".join(f"{key} = {each}\n" for key, each in (fields | {name: value}).items())
    with file(text.encode(), "weights.toml") as path:
        only(WeightsError, path, lambda: load_catalogue(path))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def pt(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


VECTOR = np.linspace(-1, 1, 512, dtype=np.float32)
PCA = {"mean": torch.zeros(1, 512), "comp": torch.ones(3, 1, 512), "std": torch.ones(3)}
WHOLE = {".npy": npy(VECTOR), ".safetensors": save({"a": torch.from_numpy(VECTOR)} | PCA), ".pt": pt(PCA)}


def read(data: bytes, suffix: str) -> None:
    with file(data, "mine" + suffix) as path:
        found = only(GanInvError, path, lambda: read_directions(path, 18))
        assert found is None or (found and all(tuple(each.vector.shape) == (18, 512) for each in found))


@few(30)
@given(st.data())
@pytest.mark.parametrize("suffix", WHOLE)
def test_direction_bytes(suffix: str, data: st.DataObject) -> None:
    # The ends hold the headers, where damage matters.
    whole = WHOLE[suffix]
    read(
        data.draw(
            st.binary(max_size=60)
            | damaged(whole)
            | damaged(whole[:300])
            | damaged(whole[:90]).map(lambda h: h + whole[90:])
        ),
        suffix,
    )


@few(25)
@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 18, 512]), max_size=4),
    st.sampled_from(["f4", "f8", "i2", "c8", "?", "U3", "O", "M8[s]"]),
)
@example([], "f4")
@example([1, 1, 1, 512], "f4")
@example([0], "f4")
def test_direction_shapes_and_types(shape: list[int], kind: str) -> None:
    read(npy(np.ones(shape).astype("i8").astype(kind)), ".npy")
    if kind in ("f4", "f8", "i2", "c8", "?"):
        tensor = torch.from_numpy(np.ones(shape, kind))
        read(pt({"comp": tensor, "mean": tensor, "std": tensor}), ".pt")
        read(save({"comp": tensor.clone(), "std": tensor.clone()}), ".safetensors")
