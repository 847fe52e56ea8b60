"""Archives that lie: sizes below nothing, names without end, headers upon headers."""

from __future__ import annotations

import io
import resource
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.input.listing import list_input
from pipelines.engine.run import run_job
from pipelines.storage.tar_headers import TarDamage, headers
from pipelines.storage.tar_index import Scan
from tests.factories import align_job
from tests.pipelines.storage.test_tar_index import make_tar, photo


def block(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header by itself; sizes that octal digits cannot say are written as GNU does."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)[:512]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


GOOD = block("good.png", len(photo(1))) + padded(photo(1))
END = bytes(1024)


def test_a_size_below_nothing_ends_the_archive_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "loop.tar"
    path.write_bytes(GOOD + block("loop.png", -1024) + END)
    started = time.monotonic()
    summary = run_job(align_job(path, tmp_path / "out"))
    assert (summary.ok, summary.failures) == (1, {"truncated": 1})
    assert time.monotonic() - started < 20
    scan = Scan(str(path))
    assert [member.name for member in scan] == ["good.png"]
    assert "less than no bytes" in scan.torn


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_three_thousand_headers_before_a_member(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "chain.tar"
    path.write_bytes((block("x", 6, kind) + padded(b"n.png\0")) * 3000 + GOOD + GOOD + END)
    assert len(list(Scan(str(path)))) == 2
    assert run_job(align_job(path, tmp_path / "out")).failed == 0


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_six_gigabytes_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "huge.tar"
    size = 6 << 30
    with open(path, "wb") as file:
        file.write(GOOD + block("name", size, kind))
        file.seek(size, io.SEEK_CUR)
        file.write(GOOD + GOOD + END)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    listing = list_input(path)
    assert [each.key for each in listing.photos] == ["good"], "the named one is left out, the one behind it is there"
    assert "names longer than any path" in listing.notes[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_member_two_thousand_folders_deep_fails_alone(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "deep.tar", {"d/" * 2000 + "a.png": photo(1), "b.png": photo(2)})
    summary = run_job(align_job(path, tmp_path / "out"))
    assert (summary.ok, summary.failures) == (1, {"too-deep": 1})


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_is_read_as_python_reads_it(tmp_path: Path, form: int) -> None:
    names = ["a.png", "d/" * 40 + "b.png", "ünï/ç.png", "s/" + "n" * 90 + ".png"]
    if form != tarfile.USTAR_FORMAT:
        names += ["m" * 200 + ".png", "k/" * 300 + "z.png"]
    path = make_tar(tmp_path / "a.tar", {name: photo(n) for n, name in enumerate(names)}, format=form)
    with tarfile.open(path) as archive:
        expected = [(entry.name, entry.offset_data, entry.size) for entry in archive]
    with open(path, "rb") as file:
        assert [(entry.name, entry.offset_data, entry.size) for entry in headers(file)] == expected


@settings(deadline=None)  # a busy machine is slow at times
@given(data=st.binary(max_size=3000), cut=st.integers(0, 3000))
def test_any_bytes_end_in_the_tools_own_error(data: bytes, cut: int) -> None:
    for whole in (data, GOOD[:cut] + data, block("a", cut, tarfile.XHDTYPE) + data):
        try:
            assert len(list(headers(io.BytesIO(whole)))) < 10
        except TarDamage:
            continue
