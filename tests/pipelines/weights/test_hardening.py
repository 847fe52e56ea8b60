"""Weights folders and mirrors as they are found in the field: huge, broken, shared, forbidden, without a network."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.errors import WeightsError
from pipelines.weights.catalogue import load_catalogue
from pipelines.weights.package_index import IndexSettings, extract_members
from pipelines.weights.store import StoreConfig, WeightStore
from tests.pipelines.weights.helpers import DATA, leftovers, make_entry, make_store

BRACKETS = "[" * 100_000


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "net.dat").write_bytes(DATA)
    return folder


@pytest.fixture
def umask() -> Iterator[None]:
    """A group that shares its files."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def huge(path: Path) -> Path:
    """3 GB that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(3 << 30)
    return path


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("the file was read")


# -- sizes first -------------------------------------------------------------------------------------------------------


def test_a_huge_file_under_a_small_name_is_refused_uncopied(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge(mirror / "net.dat")
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    monkeypatch.setattr("pipelines.weights.sources.copy_file", never)
    monkeypatch.setattr("pipelines.weights.store.copy_file", never)
    for ask in (lambda: store.path("net"), lambda: store.add(mirror / "net.dat", "net")):
        with pytest.raises(
            WeightsError, match=r"not the file that 'net' names: it has 3221225472 bytes, expected 10240"
        ):
            ask()
    assert not leftovers(tmp_path)


def test_a_huge_file_in_the_cache_is_refused_unhashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path, make_entry())
    (tmp_path / "files").mkdir()
    huge(tmp_path / "files/net.dat")
    monkeypatch.setattr("pipelines.weights.cache.sha256_of", never)
    with pytest.raises(WeightsError, match=r"3221225472 bytes.*weights rm net"):
        store.path("net")


# -- broken files of our own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [BRACKETS, "", "\0", "{}", '{"size": [], "mtime_ns": {}, "sha256": 1}', "x" * 200_000])
def test_broken_state_is_made_anew(tmp_path: Path, mirror: Path, text: str) -> None:
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    store.path("net")
    for name in ("net.json", "net.licence"):
        (tmp_path / "home/state" / name).write_text(text)
    assert store.path("net").read_bytes() == DATA
    assert "mtime_ns" in (tmp_path / "home/state/net.json").read_text()


@pytest.mark.parametrize("text", [BRACKETS, "[]", "\udcff"])
def test_a_broken_lock_file_is_named(tmp_path: Path, mirror: Path, text: str) -> None:
    store = make_store(tmp_path / "home", make_entry(data=None), mirror=str(mirror))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/lock.json").write_text(text, errors="surrogateescape")
    with pytest.raises(WeightsError, match=r"lock\.json is damaged"):
        store.path("net")


def test_a_broken_record_of_a_converted_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/mine.json").write_text(BRACKETS)
    with pytest.raises(WeightsError, match=r"mine\.json is damaged .* convert the file again"):
        make_store(tmp_path)


def test_a_broken_catalogue_is_named(tmp_path: Path) -> None:
    for text in ("a = " + BRACKETS, "a = 1" + "0" * 5000, "d = 9999-99-99", "\udcff"):
        (tmp_path / "w.toml").write_text(text, errors="surrogateescape")
        with pytest.raises(WeightsError, match=r"w\.toml"):
            load_catalogue(tmp_path / "w.toml")


def test_damaged_conversions_are_made_anew(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pth")
    data = (tmp_path / "net.pth").read_bytes()
    store = make_store(tmp_path / "home", make_entry(data=data, format="pth", filename="net.pth"))
    store.add(tmp_path / "net.pth", "net")
    store.tensors("net")
    made = next((tmp_path / "home/converted").iterdir())
    state = made.stat()
    made.write_bytes(b"x" * state.st_size)
    os.utime(made, ns=(state.st_atime_ns, state.st_mtime_ns))  # the stamp cannot tell
    assert store.tensors("net")["a"].tolist() == [1, 1]
    assert make_store(tmp_path / "home", store.entry("net")).tensors("net")["a"].tolist() == [1, 1]


# -- shared folders ----------------------------------------------------------------------------------------------------


def test_everything_in_a_shared_folder_has_the_umasks_mode(tmp_path: Path, mirror: Path, umask: None) -> None:
    torch.save({"a": torch.ones(2)}, mirror / "net.pth")
    entry = make_entry(data=None, format="pth", filename="net.pth")
    make_store(tmp_path / "home", entry, mirror=str(mirror)).tensors("net")
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} >= {"files", "converted", "state"}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {p.name: "0o664" for p in files}


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Not root, who may everything."""
    before = os.geteuid()
    if not before:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as Unix has them")
@pytest.mark.parametrize(
    ("folder", "mode"),
    [("home", 0o000), ("home/files", 0o000), ("home", 0o555), ("mirror", 0o000), ("home/own", 0o000)],
)
def test_permission_denied_is_said_as_that_with_code_5(folder: str, mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for one user alone
        top = Path(name)
        for place in (top, top / "mirror", top / "home", top / "home/files", top / "home/own"):
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        (top / "mirror/net.dat").write_bytes(DATA)
        (top / folder).chmod(mode)
        with (
            pytest.raises(WeightsError, match=r"cannot be (read|written): permission denied") as caught,
            ordinary_user(),
        ):
            make_store(top / "home", make_entry(), mirror=str(top / "mirror")).path("net")
        assert caught.value.exit_code == 5
        (top / folder).chmod(0o755)


# -- no network --------------------------------------------------------------------------------------------------------


def test_offline_opens_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    index = IndexSettings(index_urls=("https://index.invalid/simple",), find_links=("https://index.invalid/links",))
    config = StoreConfig(tmp_path, "https://mirror.invalid", True, index)
    store = WeightStore(config)
    for entry in store.entries():
        store.status(entry.name)
        if not entry.packed:
            with pytest.raises(WeightsError):
                store.path(entry.name)
    store.verify()
    assert not asked
    online = WeightStore(StoreConfig(tmp_path, config.mirror, False, index))
    with pytest.raises(WeightsError):
        online.path("id-dlib")
    assert asked, "the counter counts"


# -- archives of an index ----------------------------------------------------------------------------------------------


def raw_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    """One tar header whose checksum is right."""
    head = bytearray(512)
    head[: len(name)] = name
    head[100:108], head[124:136], head[156:157] = b"0000644\0", size.ljust(12, b"\0"), kind
    head[257:265], head[148:156] = b"ustar  \0", b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


NEGATIVE = b"\xff" * 10 + b"\xfa\x00"
TARS: dict[str, Callable[[], bytes]] = {
    "a size below zero": lambda: raw_header(b"a", NEGATIVE, b"0"),
    "a name of a size below zero": lambda: raw_header(b"././@LongLink", NEGATIVE, b"L"),
    "a name of 6 GB": lambda: raw_header(b"././@LongLink", b"70000000000", b"L"),
    "3,000 names in a chain": lambda: (
        (raw_header(b"././@LongLink", b"00000000002", b"L") + b"n".ljust(512, b"\0")) * 3000
    ),
}


@pytest.mark.parametrize("kind", TARS)
def test_malicious_sdists_are_damaged_archives(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(TARS[kind]() + bytes(1024)))
    problem = extract_members(archive, "sdist", {"net": (tmp_path / "out", 5)})["net"]
    assert problem.startswith("cannot be read: the archive is damaged") or problem == "is not in the archive"
