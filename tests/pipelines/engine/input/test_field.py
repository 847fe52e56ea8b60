"""Inputs as people have them: their editors, their disks, their shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.manifest import read_manifest
from pipelines.specs import AlignSpec
from tests.factories import align_job, write_photo, write_photos
from tests.pipelines.storage.test_tar_index import make_tar, photo

COMPOSED, APART = "Zo\u00eb", "Zoe\u0308"  # NFC as typed, NFD as macOS writes it


def keys(source: Path, **options: object) -> list[str]:
    return [each.key for each in list_input(source, InputOptions(**options)).photos]  # type: ignore[arg-type]


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
    assert any(
        "results" in note or "own output" in note
        for note in list_input(Path("."), InputOptions(output=Path("faces"))).notes
    )
    assert keys(Path("."), output=Path("faces")) == ["p00", "p01"]
    with pytest.raises(UsageError, match="is the input"):
        run_job(align_job(Path("."), Path(".")))


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


def test_an_option_behind_the_dashes_is_told_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`align -- -dash.jpg -o X`: behind `--` a shell's rule makes everything an input."""
    monkeypatch.chdir(tmp_path)
    write_photo(Path("-dash.png"), 1)
    assert [each.key for each in list_input((Path("-dash.png"),)).photos] == ["-dash"]
    with pytest.raises(UsageError, match="'-o' does not exist; if it is an option, write it before '--'"):
        list_input((Path("-dash.png"), Path("-o"), Path("X")))


def test_the_contact_sheet_of_an_evaluation_is_no_photo(tmp_path: Path) -> None:
    """It lies beside the crops, or in `evaluation/`; a crop of that name, or a photo where nothing was evaluated, is one."""
    raw, faces = write_photos(tmp_path / "raw", 2), tmp_path / "faces"
    run_job(align_job(raw, faces))
    for folder in (faces, raw / "evaluation"):
        write_photo(folder / "contact.png", 7)
        assert "contact" in " ".join(keys(folder, use_run=True))
        for name in ("metrics.json", "report.html"):
            (folder / name).write_text("{}")
    for folder in (faces, raw):
        listing = list_input(folder, InputOptions(use_run=True))
        assert [each.key for each in listing.photos] == ["p00", "p01"]
        assert any("contact sheets" in note for note in listing.notes), listing.notes
    write_photo(raw / "contact.png", 3)
    run_job(align_job(raw, tmp_path / "named"))
    for name in ("metrics.json", "report.html"):
        (tmp_path / "named" / name).write_text("{}")
    assert keys(tmp_path / "named", use_run=True) == ["contact", "p00", "p01"]
