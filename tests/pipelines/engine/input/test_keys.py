"""Every name passes one gate before it is a key, and every photo gets a key of its own."""

from __future__ import annotations

import io
import json
import os
import socket
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.input import keys as keys_module
from pipelines.engine.input.keys import LeftOut, Naming, apart, gate
from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.files import ignores_case
from pipelines.records.manifest import MANIFEST, Record, read_manifest
from pipelines.records.photos import Photo
from pipelines.storage.names import tidy, unsafe_name
from tests.factories import align_job, edit_job, output_files, write_photo, write_photos

NFC, NFD = "Zo\u00eb", "Zoe\u0308"


def keys(*sources: Path, **options: object) -> list[str]:
    return [photo.key for photo in list_input(sources, InputOptions(**options)).photos]  # type: ignore[arg-type]


@given(name=st.text(max_size=30))
def test_no_key_leads_out(name: str) -> None:
    left_out = LeftOut()
    for photo in gate([Photo(tidy(name), "/x.png")], left_out):
        inside = os.path.normpath(os.path.join("/out", photo.key + ".png"))
        assert inside.startswith("/out/")
        assert inside.encode("utf-8")
        assert tidy(photo.key) == photo.key


@pytest.mark.parametrize("name", ["../../up", "/etc/abs", "a\0b", "\ud800", "..\\w", "C:\\w", ".", "a/../../b"])
def test_names_that_cannot_be_keys_are_left_out_by_name(name: str) -> None:
    left_out = LeftOut()
    assert list(gate([Photo(tidy(name), "/x.png")], left_out)) == []
    assert unsafe_name(tidy(name)) in left_out.sentences()[0]


def test_a_run_with_hostile_records_as_input(tmp_path: Path) -> None:
    raw, edits = write_photos(tmp_path / "raw", 2), tmp_path / "edits"
    run_job(edit_job(raw, edits))
    source = str(raw / "p00.png")
    lines = (edits / MANIFEST).read_text()
    for key in ("../../../pwned/escape", "/abs", "a\0b", "\ud800x", "../edits-too"):
        good = json.loads(Record("k", source, outputs={"latents": "latents/k.safetensors"}).to_line())
        lines += json.dumps(good | {"key": key}) + "\n"
    (edits / MANIFEST).write_text(lines)
    listing = list_input(edits, InputOptions(use_run=True))
    assert [photo.key for photo in listing.photos] == ["p00", "p01"]
    before = set(tmp_path.rglob("*"))
    summary = run_job(edit_job(edits, tmp_path / "out"))
    assert summary.failed == 0
    assert {path for path in set(tmp_path.rglob("*")) - before if tmp_path / "out" not in path.parents} == {
        tmp_path / "out"
    }


def test_names_in_one_normal_form(tmp_path: Path) -> None:
    write_photo(tmp_path / "raw" / f"{NFD}.png", 1)
    write_photo(tmp_path / "raw" / f"{NFD}s" / "a.png", 2)
    assert keys(tmp_path / "raw") == [NFC, f"{NFC}s/a"]
    run_job(align_job(tmp_path / "raw", tmp_path / "out"))
    assert set(read_manifest(tmp_path / "out")) == {NFC, f"{NFC}s/a"}
    os.rename(tmp_path / "out" / f"{NFC}.png", tmp_path / "out" / f"{NFD}.png")  # as some disks give names back
    crops = list_input(tmp_path / "out", InputOptions(use_run=True)).photos
    assert [photo.trusted for photo in crops] == [True, True]
    write_photo(tmp_path / "raw" / f"{NFC}.png", 3)
    assert keys(tmp_path / "raw", output=tmp_path / "out") == [NFC, f"{NFC}.png", f"{NFC}s/a"]
    assert unicodedata.is_normalized("NFC", NFC)


def test_bytes_that_are_no_text_become_signs(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    data = write_photo(tmp_path / "a.png", 1).read_bytes()
    try:
        with open(os.fsencode(tmp_path / "raw") + b"/caf\xe9.png", "wb") as file:
            file.write(data)
    except OSError:
        pytest.skip("this disk takes no such names")
    summary = run_job(align_job(tmp_path / "raw", tmp_path / "out"))
    assert (summary.ok, list(output_files(tmp_path / "out"))) == (1, ["caf%E9.png"])


def test_case_is_told_apart_where_the_disk_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "raw" / "A.png", 1)
    write_photo(tmp_path / "raw" / "a.jpg", 2)
    assert keys(tmp_path / "raw", output=tmp_path / "out") == ["A", "a"]
    monkeypatch.setattr(keys_module, "ignores_case", lambda folder: True)
    assert keys(tmp_path / "raw", output=tmp_path / "out") == ["A", "a.jpg"]
    monkeypatch.undo()
    assert not ignores_case(tmp_path / "none" / "out")


def test_of_several_inputs_folders_keep_their_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "x/a.png", "y/x/a.png"):
        write_photo(tmp_path / name, 1)
    (tmp_path / "list.txt").write_text("a.png\nx/a.png\n")
    assert keys(tmp_path / "a.png", tmp_path / "b.png") == ["a", "b"]
    assert keys(tmp_path / "a.png", tmp_path / "x", tmp_path / "list.txt") == ["a", "x/a", "list/a", "list/x/a"]
    twice = keys(tmp_path / "a.png", tmp_path / "x" / "a.png", tmp_path / "a.png", tmp_path / "x", tmp_path / "y" / "x")
    assert twice == ["a", "a.png", "x/a", "x/a.png"]
    summary = run_job(align_job((tmp_path / "a.png", tmp_path / "b.png"), tmp_path / "out"))
    assert (summary.ok, sorted(output_files(tmp_path / "out"))) == (2, ["a.png", "b.png"])


def test_results_inside_the_input_are_left_out_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    monkeypatch.chdir(raw)
    for _ in range(2):
        summary = run_job(align_job(Path("."), Path("faces")))
        assert (summary.failed, summary.total) == (0, 3)
        assert any("'faces'" in warning for warning in summary.warnings) == (_ == 1)
    later = run_job(align_job(Path("."), Path("more")))
    assert (later.ok, any("earlier run" in warning for warning in later.warnings)) == (3, True)
    (raw / "mine").mkdir()
    (raw / "mine" / MANIFEST).write_text("{}\n")  # other tools have manifests, too
    write_photo(raw / "mine" / "a.png", 1)
    assert keys(raw) == ["mine/a", "p00", "p01", "sub/p02"]


def test_thumbnails_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in (
        "a.png",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.png",
        "b/@eaDir/x.png",
        "__MACOSX/a.png",
        ".thumbnails/b.png",
    ):
        write_photo(tmp_path / name, 1)
    listing = list_input(tmp_path)
    assert [photo.key for photo in listing.photos] == ["a"]
    assert [note[:33] for note in listing.notes] == ["4 files or folders belong to thum"]


def test_urls_in_lists_and_alone(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "https://h/x/a%20b.jpg?id=1\nhttps://h/x/a%20b.jpg?id=2\nhttps://h/%2e%2e/%2e%2e/c.jpg\n"
    )
    listing = list_input(tmp_path / "list.txt")
    assert [photo.key for photo in listing.photos] == ["h/x/a b_id=1", "h/x/a b_id=2"]
    assert "'../c'" in listing.notes[0]
    signed = list_input(Path("https://h/x/a.jpg?X-Amz-Signature=f00&X-Amz-Expires=60"))
    assert [photo.key for photo in signed.photos] == ["a"]


def test_offline_never_opens_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def count(self: socket.socket, address: object) -> None:
        opened.append(address)
        raise OSError("counted")

    monkeypatch.setattr(socket.socket, "connect", count)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: opened.append(address) or [])
    write_photo(tmp_path / "a.png", 1)
    names = tmp_path / "list.txt"
    names.write_text("a.png\nhttps://host/b.jpg\nhttp://127.0.0.1:9/s.tar\n")
    found = {photo.key: photo.trouble for photo in list_input(names, InputOptions(offline=True)).photos}
    assert [trouble and trouble.code for trouble in found.values()] == [None, "offline", "offline"]
    assert "https://host/b.jpg" in str(found["host/b"])
    for url in ("https://host/in", "https://host/a.jpg", "https://host/list.txt", "https://host/s.tar"):
        with pytest.raises(UsageError, match="--offline"):
            list_input(Path(url), InputOptions(offline=True))
    assert opened == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_lists_with_marks(tmp_path: Path, encoding: str) -> None:
    write_photos(tmp_path, 2)
    text = "p00.png\r\np01.png\r\n"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8-sig")
    assert keys(tmp_path / "list.txt") == ["p00", "p01"]
    (tmp_path / "list.txt").write_text(text, encoding=encoding)
    with pytest.raises(UsageError, match=r"list\.txt' is UTF-16.*save it as UTF-8"):
        list_input(tmp_path / "list.txt")
    stdin = io.BytesIO(f"{tmp_path}/p00.png\n".encode("utf-8-sig"))
    assert [Path(photo.path).name for photo in list_input(Path("-"), InputOptions(stdin=stdin)).photos] == ["p00.png"]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"standard input is UTF-16"):
        list_input(Path("-"), InputOptions(stdin=io.BytesIO(text.encode(encoding))))  # type: ignore[arg-type]


def test_a_dash_with_a_folder_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.specs import AlignSpec

    monkeypatch.chdir(tmp_path)
    data = write_photo(tmp_path / "a.png", 1).read_bytes()
    (tmp_path / "-").write_bytes(data)
    assert keys(*AlignSpec(input="./-", output="out").inputs) == ["-"]  # type: ignore[arg-type]


def test_keys_too_long_for_a_path_fail_by_themselves() -> None:
    photos = [Photo("d/" * 2000 + "a", "/x.png"), Photo("n" * 3000, "/y.png"), Photo("b", "/b.png")]
    found = list(apart(gate(photos, LeftOut()), Naming()))
    assert [photo.trouble.code if photo.trouble else "" for photo in found] == ["too-deep", "too-deep", ""]
