"""What INPUT means."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import pytest

from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.run import run_job
from pipelines.errors import NoInputError, UsageError
from pipelines.records.manifest import read_manifest
from tests.factories import FakeFaces, align_job, edit_job, write_photo, write_photos


def keys(source: Path, **options: object) -> list[str]:
    return [photo.key for photo in list_input(source, InputOptions(**options)).photos]  # type: ignore[arg-type]


def test_folder_is_searched_in_order_and_leftovers_are_told(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "a.JPG",
        "sub/c.d.webp",
        ".hidden.png",
        ".git/e.png",
        "f.png.0123456789ab.part",
        "a.jpg.d/g.png",
    ):
        write_photo(tmp_path / name, 1)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "clip.mp4").write_text("x")
    listing = list_input(tmp_path)
    assert [photo.key for photo in listing.photos] == ["a", "a.jpg.d/g", "b", "sub/c.d"]
    assert all(os.path.isabs(photo.path) for photo in listing.photos)
    assert listing.notes == ["2 files have no picture's suffix and were left out, for example 'clip.mp4', 'notes.txt'"]


def test_links_in_a_circle_end_and_broken_ones_are_kept(tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png", 1)
    write_photo(tmp_path / "elsewhere" / "b.png", 1)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "broken.png").symlink_to(tmp_path / "nowhere")
    write_photo(tmp_path / "in" / "c" / "d.png", 1)
    (tmp_path / "in" / "here").symlink_to(tmp_path / "in" / "c")
    listing = list_input(tmp_path / "in")
    assert [photo.key for photo in listing.photos] == ["a", "broken", "c/d", "here/d"]
    assert "'there'" in listing.notes[0]
    assert "--follow-links" in listing.notes[0]
    assert keys(tmp_path / "in", follow_links=True) == ["a", "broken", "c/d", "here/d", "there/b"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "a.png", 1)
    write_photo(tmp_path / "closed" / "b.png", 1)
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = list_input(tmp_path)
    assert [photo.key for photo in listing.photos] == ["a"]
    assert "Permission denied" in listing.notes[0]


def test_keys_stay_when_files_are_added(tmp_path: Path) -> None:
    """The file that an earlier run noted for a key keeps it; whoever comes later gets its suffix into its own."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_photo(raw / "a.png", 1)
    run_job(align_job(raw, out))
    write_photo(raw / "a.jpg", 2)
    write_photo(raw / "a.gif", 3)
    names = tmp_path / "list.txt"
    names.write_text("raw/a.gif\nraw/a.jpg\nraw/a.png\n")
    for _ in range(2):
        summary = run_job(align_job(raw, out))
        assert summary.failed == 0
        sources = {key: Path(record.source).name for key, record in read_manifest(out).items()}
        assert sources == {"a": "a.png", "a.gif": "a.gif", "a.jpg": "a.jpg"}
    assert keys(names, output=out) == ["raw/a", "raw/a.jpg", "raw/a.png"], "another place, other keys"
    (raw / "list.txt").write_text("a.gif\na.jpg\na.png\n")
    assert keys(raw / "list.txt", output=out) == ["a.gif", "a.jpg", "a"]
    (raw / "a.png").unlink()
    assert keys(raw, output=out) == ["a.gif", "a.jpg"]


def test_a_name_that_a_further_face_gets_keeps_its_suffix_with_all_faces(tmp_path: Path) -> None:
    for name in ("a.png", "a.1.png", "b.1.png"):
        write_photo(tmp_path / "raw" / name, 1)
    assert keys(tmp_path / "raw") == ["a", "a.1", "b.1"]
    assert keys(tmp_path / "raw", faces_all=True) == ["a", "a.1.png", "b.1.png"], "whatever else is there"
    summary = run_job(align_job(tmp_path / "raw", tmp_path / "out", FakeFaces(count=2), faces="all"))
    assert (summary.ok, summary.failed) == (6, 0)
    assert set(read_manifest(tmp_path / "out")) == {"a", "a.1", "a.1.png", "a.1.png.1", "b.1.png", "b.1.png.1"}


def test_lists_files_and_mistakes(tmp_path: Path) -> None:
    first = write_photo(tmp_path / "x" / "a.png", 1)
    other = write_photo(tmp_path / "y" / "b.odd", 1)
    paths = tmp_path / "x" / "list.txt"
    paths.write_text(f"a.png\n\n{other}\r\na.png\nmissing.png\n")
    assert keys(paths) == ["a", other.with_suffix("").as_posix().lstrip("/"), "missing"], "in the list's own order"
    assert [photo.path for photo in list_input(Path("-"), InputOptions(stdin=io.StringIO(f"{first}\n"))).photos] == [
        str(first)
    ]
    assert keys(first) == ["a"]
    for bad, sentence in ((tmp_path / "none", "does not exist"), (tmp_path / "a.zip", "archive")):
        if bad.suffix:
            bad.write_bytes(b"")
        with pytest.raises(UsageError, match=sentence):
            list_input(bad)
    with pytest.raises(NoInputError, match="no picture"):
        list_input(Path("-"), InputOptions(stdin=io.StringIO("\n")))


def test_a_list_may_spell_a_name_otherwise_than_the_disk(tmp_path: Path) -> None:
    written = {form: unicodedata.normalize(form, name) for form, name in (("NFD", "Zoë.png"), ("NFC", "Élan.png"))}
    for name in written.values():
        write_photo(tmp_path / name, 0)
    if {path.name for path in tmp_path.iterdir()} != set(written.values()):
        pytest.skip("this disk spells names its own way")
    wanted = tmp_path / "list.txt"
    wanted.write_text(unicodedata.normalize("NFC", "Zoë.png\n") + unicodedata.normalize("NFD", "Élan.png\n"), "utf-8")
    photos = list(list_input(wanted).photos)
    assert [Path(photo.path).name for photo in photos] == list(written.values())
    assert [photo.key for photo in photos] == ["Zoë", "Élan"], "keys have one form"


def test_shards_cover_everything_once(tmp_path: Path) -> None:
    photos = list_input(write_photos(tmp_path, 11)).photos
    for count in (1, 2, 3, 11, 13):
        parts = [photos.part(None, (index, count)) for index in range(1, count + 1)]
        assert sorted(photo.key for part in parts for photo in part) == [photo.key for photo in photos]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert tuple(photos.part(4, (2, 2))) == tuple(photos)[1:4:2]


def test_faces_folder_is_trusted_and_remembers_its_photos(tmp_path: Path) -> None:
    raw, faces = write_photos(tmp_path / "raw", 3), tmp_path / "faces"
    run_job(align_job(raw, faces))
    write_photo(faces / "mine.png", 5)
    listing = list_input(faces, InputOptions(use_run=True))
    assert [(photo.key, photo.trusted) for photo in listing.photos] == [
        ("mine", False),
        ("p00", True),
        ("p01", True),
        ("sub/p02", True),
    ]
    origin = listing.photos.first[1].origin
    assert origin is not None
    assert origin.path == str(raw / "p00.png")
    assert origin.quad[2] == (32.0, 32.0)
    assert listing.notes == []
    assert all(photo.origin is None for photo in list_input(faces).photos)


def test_an_inverted_folder_stands_for_its_faces(tmp_path: Path) -> None:
    raw, edits = write_photos(tmp_path / "raw", 2), tmp_path / "edits"
    run_job(edit_job(raw, edits))
    listing = list_input(edits, InputOptions(use_run=True))
    assert listing.latents == edits / "latents"
    assert [photo.path for photo in listing.photos] == [str(raw / "p00.png"), str(raw / "p01.png")]
    assert all(photo.cut is not None for photo in listing.photos)
