"""Every reader of bytes that others wrote: only the tool's own errors come out, in bounded time and memory.

Photos are in `test_corpus`, the manifest's fields, TOML and direction files in `test_parsers`.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.engine.input.listing import list_input
from pipelines.engine.spread.in_flight import left_by
from pipelines.errors import GanInvError, PhotoError
from pipelines.records.deliveries import DELIVERED, fold
from pipelines.records.json_lines import parse
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.records.manifest import PARTS, Record, read_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.manifest_tail import NewRecords
from pipelines.storage.tar_index import read_member
from pipelines.types import Inversion
from pipelines.weights.checkpoints.detect import detect
from pipelines.weights.checkpoints.read import read_checkpoint
from tests.factories import write_photo
from tests.fuzz.test_parsers import DEEP, LINE, damaged, few, file, plain

SECONDS, MEGABYTES = 5.0, 400.0


@pytest.fixture(autouse=True)
def bounded_memory() -> Any:
    """A whole test may let the process grow by so much and no more."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


def tried(read: Callable[[], Any], kind: type[GanInvError] = GanInvError) -> Any:
    """What `read` gives, or None where it raises `kind`; it may take so long."""
    started = time.process_time()
    try:
        return read()
    except kind as error:
        sentence = str(error)
    finally:
        assert time.process_time() - started < SECONDS
    assert 0 < len(sentence) < 4000
    return None


@few(80)
@given(st.binary(max_size=300) | damaged(LINE.encode() * 3))
@example(DEEP + b"\n" + LINE.encode() * 2)
@example(LINE.encode().replace(b'"scores":{}', b'"scores":{"faces":100000000}') + LINE.encode() * 2)
@example(LINE.encode().replace(b'"a"', b'"../../../pwned/escape"', 1) + LINE.encode() * 2)
@example(b'{"v":1,"key":"a","source":' + DEEP + b"}\n" + LINE.encode() * 2)
def test_manifest_as_an_index_says_what_the_manifest_says(data: bytes) -> None:
    with file(data, "manifest.jsonl") as path:
        records = tried(lambda: read_manifest(path.parent))
        found = tried(lambda: dict(ManifestIndex(path.parent)))
        if records is not None and found is not None and len(records) == data.count(b"\n"):
            assert found == records


@few(60)
@given(st.binary(max_size=300) | damaged(LINE.encode() * 3))
@example(DEEP + b"\n")
def test_a_runs_own_notes(data: bytes) -> None:
    with file(data, DELIVERED) as path:
        folder = path.parent
        (folder / PARTS).mkdir()
        (folder / PARTS / "t-0000-a.taken").write_bytes(data)
        (folder / PARTS / "t-0000-a.jsonl").write_bytes(LINE.encode() + data)
        assert all(isinstance(each, Record) for each in NewRecords(folder, skip=False))
        tried(lambda: left_by(folder, "t-0000"))
        (folder / PARTS / "t-0000-a.taken").unlink()
        tried(lambda: fold(folder))


@few(60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(DEEP)
@example(b"1" * 5000)
@example(b'"\\ud800"')
def test_a_line_is_a_value_or_a_value_error(data: bytes) -> None:
    try:
        parse(data)
    except ValueError:
        return


LATENTS = save_inversion(Inversion(torch.zeros(1, 4, 8), {"64": torch.zeros(1, 2, 4, 4)}), 0, {"fingerprint": "f"})
HEAD = json.loads(LATENTS[8 : 8 + struct.unpack("<Q", LATENTS[:8])[0]])
BODY = LATENTS[8 + struct.unpack("<Q", LATENTS[:8])[0] :]


def with_head(head: Any) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + BODY


@few(120)
@given(
    st.binary(max_size=100)
    | damaged(LATENTS)
    | plain.map(with_head)
    | st.builds(lambda name, value: with_head(HEAD | {name: value}), st.sampled_from([*HEAD, "residual."]), plain)
    | plain.map(lambda about: with_head(HEAD | {"__metadata__": {"ganinv": json.dumps(about)}}))
)
@example(struct.pack("<Q", 2**63) + b"{}")
@example(struct.pack("<Q", 100_000) + DEEP)
@example(with_head(HEAD | {"latents": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 128]}}))
def test_latents(data: bytes) -> None:
    found = tried(lambda: load_inversion(data), PhotoError)
    if found is not None:
        assert found[0].latents.isfinite().all()


@few(60)
@given(
    st.lists(
        st.binary(max_size=20) | st.sampled_from([b"a.png", b"../raw/a.png", b"\0", b"/", b"::", b"a.tar::b", b"."]),
        max_size=6,
    )
)
@example([b"\xff\xfea\0.\0p\0n\0g\0"])
@example([b"x" * 100_000])
def test_lists(lines: list[bytes]) -> None:
    with file(b"\n".join(lines), "list.txt") as path:
        write_photo(path.parent / "a.png", 0)

        def read() -> None:
            for photo in list_input(path).photos:
                assert ".." not in photo.key.split("/")
                assert not photo.key.startswith("/")

        tried(read)


def tar_of(names: list[str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 600
            archive.addfile(entry, io.BytesIO(bytes(600)))
    return made.getvalue()


TAR = tar_of(["a.png", "sub/b.png", "long/" * 30 + "c.png"])


def check_tar(data: bytes) -> None:
    with file(data, "x.tar") as path:

        def read() -> None:
            for photo in list_input(path).photos:
                assert ".." not in photo.key.split("/")
                if photo.trouble is None:
                    tried(lambda photo=photo: read_member(photo.path, photo.span), PhotoError)

        tried(read)


@few(60)
@given(st.binary(max_size=600) | damaged(TAR) | damaged(TAR[:1024]))
@example(tar_of(["../../escape.png", "/abs.png", "d/" * 60 + "x.png"]))
def test_archives(data: bytes) -> None:
    check_tar(data)


def saved(value: Any, legacy: bool) -> bytes:
    made = io.BytesIO()
    torch.save(value, made, _use_new_zipfile_serialization=not legacy)
    return made.getvalue()


NETWORK = {"state_dict": {"conv.weight": torch.zeros(2, 3), "bias": torch.ones(2)}, "opts": {"size": 8}}
FILES = {
    "new.pt": saved(NETWORK, legacy=False),
    "old.pt": saved(NETWORK, legacy=True),
    "net.pkl": pickle.dumps({"G_ema": {"a": [1, 2, (3, "x")]}}, protocol=4),
    "net.safetensors": LATENTS,
    "net.dat": b"\x01\x02" * 40,
}


@pytest.mark.parametrize("name", FILES)
@few(40)
@given(data=st.data())
def test_checkpoints(name: str, data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=200) | damaged(FILES[name]))
    with file(content, name) as path:
        tried(lambda: detect(path))
        if path.suffix == ".pt":
            tried(lambda: read_checkpoint(path))


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._mark = folder / "pwned"

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("name", ["evil.pt", "evil.pkl"])
def test_no_code_of_a_file_runs(tmp_path: Path, name: str) -> None:
    evil = Evil(tmp_path)
    data = pickle.dumps(evil) if name.endswith("pkl") else saved({"state_dict": evil}, legacy=False)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GanInvError, match=name):
        detect(tmp_path / name)
    assert not (tmp_path / "pwned").exists()
