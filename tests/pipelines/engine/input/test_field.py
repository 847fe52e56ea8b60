"""Inputs as people have them: their editors, their disks, their shells."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelines.engine.input.listing import list_input
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.manifest import read_manifest
from pipelines.specs import AlignSpec
from tests.factories import align_job, write_photo, write_photos
from tests.pipelines.engine.input.test_tar_index import make_tar, photo

COMPOSED, APART = "Zo\u00eb", "Zoe\u0308"  # NFC as typed, NFD as macOS writes it


def keys(source: Path, **options: object) -> list[str]:
    return [each.key for each in list_input(source, **options).photos]  # type: ignore[arg-type]


def test_a_list_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 1)
    names = tmp_path / "list.txt"
    names.write_bytes(b"\xef\xbb\xbfa.png\r\nb.png\r\n")
    assert [(each.key, each.path) for each in list_input(names).photos] == [
        ("a", str(tmp_path / "a.png")),
        ("b", str(tmp_path / "b.png")),
    ]
    for stream in (io.BytesIO(names.read_bytes()), io.StringIO("\ufeffa.png\nb.png\n")):
        assert [Path(each.path).name for each in list_input(Path("-"), stdin=stream).photos] == ["a.png", "b.png"]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_its_name(coding: str, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_bytes("a.png\n".encode(coding))
    for source, stdin in ((names, None), (Path("-"), io.BytesIO(names.read_bytes()))):
        with pytest.raises(UsageError, match=r"UTF-16.*save it as UTF-8"):
            list_input(source, stdin=stdin)  # type: ignore[arg-type]


def test_names_of_one_form(tmp_path: Path) -> None:
    """The key is the same however the system wrote the name, so that a run goes on and `evaluate` finds its picture."""
    write_photo(tmp_path / "nfc" / f"{COMPOSED}.png", 1)
    write_photo(tmp_path / "nfd" / f"{APART}.png", 1)
    archive = make_tar(tmp_path / "a.tar", {f"{APART}.png": photo(1)})
    assert keys(tmp_path / "nfc") == keys(tmp_path / "nfd") == keys(archive) == [COMPOSED]
    run_job(align_job(tmp_path / "nfd", tmp_path / "out"))
    assert set(read_manifest(tmp_path / "out")) == {COMPOSED}
    write_photo(tmp_path / "nfc" / f"{APART}.png", 2)
    assert len(set(keys(tmp_path / "nfc"))) == 2, "two files of one name in two forms are two photos"


def test_a_query_tells_photos_apart(tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text(
        "https://host/p/pic.jpg?id=1\nhttps://host/p/pic.jpg?id=2\nhttps://host/my%20pic.jpg\n"
        "https://host/s.jpg?X-Amz-Signature=abc&X-Amz-Date=1\nhttps://host/..%2F..%2Fup.jpg\n"
    )
    listing = list_input(names)
    assert [each.key for each in listing.photos] == ["host/p/pic_id=1", "host/p/pic_id=2", "host/my pic", "host/s"]
    assert listing.notes == [
        "1 names cannot be used (each leads out of its place ('..')) and were left out, for example '../up'"
    ]
    signed = list_input(Path("https://host/a.jpg?X-Amz-Signature=abc"))
    assert [(each.key, each.path) for each in signed.photos] == [("a", "https://host/a.jpg?X-Amz-Signature=abc")]


def test_own_output_inside_the_input_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``cd photos; ganinv align .``"""
    raw = write_photos(tmp_path / "photos", 2)
    monkeypatch.chdir(raw)
    for seen in range(3):
        summary = run_job(align_job(Path("."), Path("faces")))
        assert (summary.ok, summary.skipped, summary.failed) == ((0, 2, 0) if seen else (2, 0, 0))
    assert any("results" in note or "own output" in note for note in list_input(Path("."), output=Path("faces")).notes)
    assert keys(Path("."), output=Path("faces")) == ["p00", "p01"]
    with pytest.raises(UsageError, match="is the input"):
        run_job(align_job(Path("."), Path(".")))


def test_thumbnails_and_leftovers_of_other_systems(tmp_path: Path) -> None:
    for name in ("a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/n/b.png", "sub/__MACOSX/c.png"):
        write_photo(tmp_path / name, 1)
    listing = list_input(tmp_path)
    assert [each.key for each in listing.photos] == ["a"]
    assert len(listing.notes) == 1
    assert listing.notes[0].startswith("3 ")
    archive = make_tar(tmp_path / "a.tar", {"a.png": photo(1), "__MACOSX/._a.png": photo(1), "@eaDir/t.jpg": photo(1)})
    assert keys(archive) == ["a"]


def test_several_inputs(tmp_path: Path) -> None:
    """Photos by their own names, as a shell's glob gives them; all else by its name and what lies in it."""
    one, two = write_photo(tmp_path / "a.png", 1), write_photo(tmp_path / "b.png", 2)
    write_photos(tmp_path / "raw", 2)
    archive = make_tar(tmp_path / "s.tar", {"x.png": photo(1)})
    spec = AlignSpec(input=[one, two, tmp_path / "raw", archive], output=tmp_path / "out")
    assert [each.key for each in list_input(spec.inputs).photos] == ["a", "b", "raw/p00", "raw/p01", "s/x"]
    other = write_photo(tmp_path / "other" / "a.png", 3)
    assert [each.key for each in list_input((one, other)).photos] == ["a", "a.png"]
    with pytest.raises(UsageError, match="does not exist"):
        list_input((one, tmp_path / "none"))


def test_a_file_called_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "x.png", 1).rename(tmp_path / "-")
    monkeypatch.chdir(tmp_path)
    spec = AlignSpec(input="./-", output=tmp_path / "out")
    assert [(each.key, each.path) for each in list_input(spec.inputs).photos] == [("-", str(tmp_path / "-"))]
    assert AlignSpec(input="-", output=tmp_path / "out").inputs == (Path("-"),)
