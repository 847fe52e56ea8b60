"""Weights in a folder that cannot be written: each file is hashed by each process, and that is all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import serialize_file

from pipelines.engine.run import run_job
from pipelines.errors import WeightsError
from pipelines.weights.store import WeightStore
from tests.disks import mounted
from tests.factories import align_job, output_files, write_photos
from tests.pipelines.weights.helpers import DATA, make_entry, make_store

NET = {"weight": torch.arange(6.0).reshape(2, 3)}


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(NET, buffer)
    return buffer.getvalue()


PTH = checkpoint()
ENTRIES = make_entry(), make_entry("two", PTH, format="pth", filename="two.pth"), make_entry("gone", b"x")


def fill(home: Path, mirror: Path) -> None:
    """What somebody with the right to write has pulled."""
    mirror.mkdir()
    (mirror / "net.dat").write_bytes(DATA)
    (mirror / "two.pth").write_bytes(PTH)
    make_store(home, *ENTRIES, mirror=str(mirror)).pull(["net", "two"])


@pytest.fixture(params=["mount", "permissions", "calls"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A filled weights folder that cannot be written any more, in each of three ways where this machine allows it."""
    place, disks = tmp_path / "home", contextlib.ExitStack()
    if request.param == "mount" and not disks.enter_context(mounted(place, 4 << 20)):
        pytest.skip("no file system can be mounted here")
    fill(place, tmp_path / "mirror")
    try:
        if request.param == "mount":  # a file system that is read-only, root or not
            assert os.system(f"mount -o remount,ro '{place}'") == 0
        elif request.param == "permissions":
            for path in (place, *place.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
            if os.access(place, os.W_OK):
                pytest.skip("permission bits do not bind this user")
        else:
            refuse_writing_calls(place, monkeypatch)
        yield place
    finally:
        disks.close()
        if request.param == "permissions":
            for path in (place, *(each for each in place.rglob("*") if each.is_dir())):
                path.chmod(0o755)


def refuse_writing_calls(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel answers below a read-only mount."""
    inside = os.path.join(place, "")

    def refuse_below(path: Any) -> None:
        if isinstance(path, str | os.PathLike) and os.path.join(os.path.abspath(path), "").startswith(inside):
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*paths: Any, **options: Any) -> Any:
            for path in paths:
                refuse_below(path)
            return real(*paths, **options)

        return call

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "utime"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    # Written by a library that is not Python.
    monkeypatch.setattr("safetensors.torch.serialize_file", guarded(serialize_file))
    real_os_open, real_open = os.open, io.open

    def os_open(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse_below(path)
        return real_os_open(path, flags, *more, **options)

    def io_open(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            refuse_below(file)
        return real_open(file, mode, *more, **options)

    monkeypatch.setattr(os, "open", os_open)
    monkeypatch.setattr(io, "open", io_open)
    monkeypatch.setattr("builtins.open", io_open)


def store_at(home: Path) -> WeightStore:
    return make_store(home, *ENTRIES, offline=True)


def listing(home: Path) -> dict[str, int]:
    return {path.relative_to(home).as_posix(): path.stat().st_mtime_ns for path in home.rglob("*")}


def test_it_is_really_read_only(home: Path) -> None:
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        (home / "new").write_bytes(b"x")


def test_files_and_tensors_are_had_and_nothing_is_written(home: Path) -> None:
    before = listing(home)
    for _ in range(2):  # in a fresh process nothing is remembered
        store = store_at(home)
        store.pull(["net", "two"])
        assert store.path("net").read_bytes() == DATA
        assert torch.equal(store.tensors("two")["weight"], NET["weight"])
        assert store.verify() == {"net": "", "two": ""}
    assert listing(home) == before


def test_what_is_missing_is_told_in_a_sentence(home: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="gone"):
        store_at(home).pull(["gone"])
    (tmp_path / "mirror" / "gone.dat").write_bytes(b"x")
    store = make_store(home, *ENTRIES, mirror=str(tmp_path / "mirror"))
    with pytest.raises(WeightsError, match=r"cannot be written.*GANINV_HOME"):
        store.path("gone")


def test_a_run_works_with_them(home: Path, tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    job = replace(align_job(raw, tmp_path / "out"), prepare=lambda: store_at(home).pull(["net", "two"]))
    assert run_job(job).ok == 3
    assert len(output_files(tmp_path / "out")) == 3
