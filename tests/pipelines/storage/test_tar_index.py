"""Tar archives as input: members by streaming, hostile names, cut off archives, runs over shards."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from pipelines.engine.input.keys import LeftOut
from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.run import run_job
from pipelines.errors import PhotoError, UsageError
from pipelines.records.manifest import read_manifest
from pipelines.storage import tar_index as tarball
from pipelines.storage.names import unsafe_name
from pipelines.storage.open import file_stat, read_source
from pipelines.storage.tar_index import Scan, expand, read_index, read_member, split_member
from tests.factories import align_job, edit_job, output_files, picture, write_photo
from tests.fakes.photos import saved


def photo(seed: int) -> bytes:
    return saved(picture(seed), "PNG")


def make_tar(path: Path, files: dict[str, bytes], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_members_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"sub/{n}.png": photo(n) for n in range(4)} | {"sub/0.json": b"{}", "./1.png": b"old"}
    path = make_tar(tmp_path / "s.tar", files | {"1.png": photo(9)})
    photos = list_input(path).photos.first
    assert [each.key for each in photos] == ["1", "sub/0", "sub/1", "sub/2", "sub/3"]
    monkeypatch.setattr(tarball, "read_index", lambda path: pytest.fail("the archive is searched again"))
    assert read_source(photos[0].path, photos[0].span) == photo(9), "of two members with one name the last counts"
    assert all(read_source(each.path, each.span) == files[f"{each.key}.png"] for each in photos[1:])
    monkeypatch.undo()
    assert read_source(f"{path}::sub/2.png") == files["sub/2.png"], "the name alone suffices"
    assert file_stat(f"{path}::sub/2.png") == (path.stat().st_size, path.stat().st_mtime_ns)


def test_a_run_over_one_archive_is_the_run_over_its_folder(tmp_path: Path) -> None:
    names = ["a.png", "sub/b.png", "ünï code/ç.png", "n" * 120 + ".png"]
    for n, name in enumerate(names):
        write_photo(tmp_path / "raw" / name, n)
    files = {name: (tmp_path / "raw" / name).read_bytes() for name in names}
    path = make_tar(tmp_path / "s.tar", files)
    run_job(edit_job(tmp_path / "raw", tmp_path / "out1", paste=True))
    summary = run_job(edit_job(path, tmp_path / "out2", paste=True, workers=1))
    assert (summary.ok, summary.failed) == (4, 0)
    assert output_files(tmp_path / "out1") == output_files(tmp_path / "out2")
    record = read_manifest(tmp_path / "out2")["sub/b"]
    assert record.source == f"{path}::sub/b.png"
    assert record.digest == hashlib.sha256(files["sub/b.png"]).hexdigest()
    assert run_job(edit_job(path, tmp_path / "out2", paste=True)).skipped == 4
    listing = list_input(
        tmp_path / "out2", InputOptions(use_run=True)
    )  # an inverted folder stands for the members it was made from
    assert [read_source(each.path, each.span) for each in listing.photos] == [
        files[f"{e.key}.png"] for e in listing.photos
    ]


def test_several_archives_and_a_folder_of_them(tmp_path: Path) -> None:
    for n in range(3):
        make_tar(tmp_path / f"s-00{n}.tar", {"a.png": photo(n)})
    pattern = tmp_path / "s-{000..002}.tar"
    expected = ["s-000/a", "s-001/a", "s-002/a"]
    assert [each.key for each in list_input(pattern).photos] == expected
    assert [each.key for each in list_input(tmp_path).photos] == expected
    names = tmp_path / "list.txt"
    names.write_text("s-001.tar\n")
    assert [each.key for each in list_input(names).photos] == ["s-001/a"]
    with pytest.raises(UsageError, match=r"s-003\.tar"):
        list_input(tmp_path / "s-{000..003}.tar")
    with pytest.raises(UsageError, match="upwards"):
        list_input(tmp_path / "s-{3..1}.tar")
    assert expand("x{8..11}{a}.tar") == ("x8{a}.tar", "x9{a}.tar", "x10{a}.tar", "x11{a}.tar")


def test_hostile_members_are_left_out_by_name(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("good.png", "../up.png", "/etc/abs.png", "a/../../b.png", "..\\w.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(photo(1))
            archive.addfile(entry, io.BytesIO(photo(1)))
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    listing = list_input(path)
    assert [each.key for each in listing.photos] == ["good"]
    assert len(listing.notes) == 3
    assert sum("3 members are links" in note and "'h.png'" in note for note in listing.notes) == 1
    assert any("3 names cannot be used (each leads out" in n and "'../up.png'" in n for n in listing.notes)
    summary = run_job(align_job(path, tmp_path / "out"))
    assert (summary.ok, summary.failed, len(summary.warnings)) == (1, 0, 3)
    assert sorted(output_files(tmp_path / "out")) == ["good.png"]
    assert unsafe_name("a\0b") == "holds a zero byte"


def test_many_hostile_members_are_counted(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "evil.tar", {f"../{n}.png": b"" for n in range(30)})
    left_out = LeftOut()
    assert list(Scan(str(path), left_out.add)) == []
    assert [note[:8] for note in left_out.sentences()] == ["30 names"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.93])
def test_a_cut_off_archive_gives_what_is_there_and_one_failure(tmp_path: Path, share: float) -> None:
    whole = make_tar(tmp_path / "whole.tar", {f"{n}.png": photo(n) for n in range(6)}).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: int(len(whole) * share)])
    listing = list_input(cut)
    good = [each for each in listing.photos if each.trouble is None]
    assert 0 < len(good) <= 6
    summary = run_job(align_job(cut, tmp_path / "out"))
    assert (summary.ok, summary.failures) == (len(good), {"truncated": 1})
    error = read_manifest(tmp_path / "out")["cut.tar"].error
    assert error is not None
    assert str(cut) in error.message


def test_garbage_after_a_member_is_noticed(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.png": photo(1)})
    data = bytearray(path.read_bytes())
    end = 512 + -(-len(photo(1)) // 512) * 512
    data[end : end + 512] = b"\x07" * 512
    path.write_bytes(data)
    scan = Scan(str(path))
    assert len(list(scan)) == 1
    assert "damaged" in scan.torn
    (tmp_path / "not.tar").write_bytes(b"this is no archive" * 100)
    scan = Scan(str(tmp_path / "not.tar"))
    assert list(scan) == []
    assert scan.torn
    (tmp_path / "zipped.tar").write_bytes(b"\x1f\x8b\x08\0\0\0")
    with pytest.raises(UsageError, match="compressed"):
        read_index(str(tmp_path / "zipped.tar"))


def test_members_that_are_gone(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.png": photo(1)})
    for place, code in ((f"{path}::b.png", "vanished"), (f"{tmp_path}/no.tar::a.png", "vanished")):
        with pytest.raises(PhotoError) as caught:
            read_member(place)
        assert caught.value.code == code
    with pytest.raises(PhotoError) as caught:
        read_member(f"{path}::a.png", (512, path.stat().st_size))
    assert caught.value.code == "truncated"
    assert split_member("/a/b.tar::c::d.png") == ("/a/b.tar", "c::d.png")
    assert split_member("/a/b::c.png") is None
