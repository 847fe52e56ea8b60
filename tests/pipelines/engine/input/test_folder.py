"""Large folders: the order of the walk, and what is told of photos that cannot be used once a run has begun."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.engine.input import listing as source
from pipelines.engine.input.folder import FolderWalk
from pipelines.engine.input.keys import LeftOut, Naming
from pipelines.engine.input.listing import list_input
from pipelines.engine.input.streaming import StreamedPhotos
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.photos import Photo
from pipelines.storage.names import split_key
from tests.factories import align_job, write_photo, write_photos

# Characters that sort before and after the dot and the slash: what a walk could get wrong.
NAMES = st.text(alphabet=" !-.0aB~é", min_size=1, max_size=4).filter(lambda name: name[0] != "." and name != "..")


def photos(root: Path, faces_all: bool = False) -> StreamedPhotos:
    return StreamedPhotos(lambda left_out: FolderWalk(str(root), {}, Naming(None, faces_all), left_out))


def make_tar(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = write_photo(path.parent / ".picture.png", 1)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            archive.add(picture, name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=12))
def test_the_walk_is_in_the_order_of_the_sorted_keys(
    paths: set[tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    expected = []
    for path in paths:
        file = root.joinpath(*path[:-1], path[-1] + ".png")
        if any((root.joinpath(*path[:n])).is_file() for n in range(1, len(path))) or file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        expected.append(split_key(file.relative_to(root).as_posix())[0])
    left_out = LeftOut()
    found = [photo.key for photo in FolderWalk(str(root), {}, Naming(), left_out)]
    assert found == sorted(expected)
    assert left_out.sentences() == []


def test_a_folder_and_an_archive_of_one_name(tmp_path: Path) -> None:
    for name in ("a/b.png", "a/d.png", "a.b.png", "a!.png"):
        write_photo(tmp_path / name, 1)
    make_tar(tmp_path / "a.tar", "c.png", "a.png", "e/f.png")
    make_tar(tmp_path / "a.x.tar", "0.png")
    keys = ["a!", "a.b", "a.tar/a", "a.tar/c", "a.tar/e/f", "a.x/0", "a/b", "a/d"]
    assert [photo.key for photo in photos(tmp_path)] == keys == sorted(keys)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:-9000])
    torn = [photo for photo in photos(tmp_path) if photo.trouble]
    assert [photo.key for photo in torn] == ["a.tar.tar"]


def test_folders_nested_a_thousand_deep(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("a.png").touch()
    finally:
        os.chdir(here)
    try:
        write_photo(tmp_path / "z.png", 1)
        assert [photo.key for photo in photos(tmp_path)] == ["d/" * 1500 + "a", "z"]
        summary = run_job(align_job(tmp_path, tmp_path.with_name("out")))
        assert (summary.ok, summary.failures) == (1, {"too-deep": 1})
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # Python's own way of removing it recurses


def test_photos_of_one_name_have_keys_of_their_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.png.jpg", "b.png", "c/x.png", "c/x.1.png", "c/y.2.png"):
        write_photo(tmp_path / name, 1)
    make_tar(tmp_path / "c.tar", "x.png", "x.jpg", "z.png", "z.3.png")
    plain = [photo.key for photo in photos(tmp_path)]
    archive = ["c.tar/x", "c.tar/x.png", "c.tar/z", "c.tar/z.3"]
    assert plain == ["a", "a.png", "a.png.jpg", "b", *archive, "c/x", "c/x.1", "c/y.2"]
    all_faces = [photo.key for photo in photos(tmp_path, faces_all=True)]
    assert all_faces == ["a", "a.png", "a.png.jpg", "b", *archive[:3], "c.tar/z.3.png", "c/x", "c/x.1.png", "c/y.2.png"]
    assert not any(photo.trouble for photo in photos(tmp_path))


def test_small_folders_are_listed_before_anything_starts_and_large_ones_as_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path, 6)
    write_photo(tmp_path / "z.png", 1)
    write_photo(tmp_path / "z.jpg", 1)
    (tmp_path / "notes.doc").touch()
    left_out = ["1 files have no picture's suffix and were left out, for example 'notes.doc'"]
    small = list_input(tmp_path)
    assert (small.photos.whole, len(small.photos), small.notes) == (True, 8, left_out)
    monkeypatch.setattr(source, "LISTED_FIRST", 4)
    listing = list_input(tmp_path)
    assert not listing.photos.whole
    assert (listing.notes, len(listing.photos.first)) == ([], 4)
    assert tuple(listing.photos) == tuple(small.photos)
    assert [photo.key for photo in listing.photos][-2:] == ["z", "z.png"]
    assert listing.notes == left_out
    assert (len(listing.photos), listing.photos.first[0].key) == (8, "p00")


def test_parts_of_a_large_folder_are_those_of_its_list(tmp_path: Path) -> None:
    write_photos(tmp_path, 11)
    lazy, listed = photos(tmp_path), list_input(tmp_path).photos
    assert (lazy.whole, listed.whole) == (False, True)
    for limit in (None, 1, 7, 99):
        for shard in (None, (1, 1), (2, 3), (3, 3), (12, 13)):
            part = lazy.part(limit, shard)
            assert isinstance(part, StreamedPhotos)
            assert tuple(part) == tuple(listed.part(limit, shard))
            assert len(part) == len(tuple(part))


def test_an_archive_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 1)
    write_photo(tmp_path / "z.png", 1)
    (tmp_path / "m.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    found = list(list_input(tmp_path).photos)
    assert [photo.key for photo in found] == ["a", "m.tar", "z"]
    assert "compressed" in str(found[1].trouble)
    with pytest.raises(UsageError, match="compressed"):
        list_input(tmp_path / "m.tar")


def test_links_are_known_from_the_listing(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", 1)
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert [photo.linked for photo in photos(tmp_path)] == [False, True]
    assert Photo("c", "/c.png").linked
