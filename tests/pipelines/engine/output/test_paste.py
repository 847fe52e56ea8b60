"""Faces of one photo, pasted into it together: one reading, one picture, whatever becomes of single faces."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.output import paste
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.run import run_job
from pipelines.engine.spread.shard import divide_among, shards_of
from pipelines.engine.types import Change, PastePlace, Result, Task
from pipelines.images.pixels import decode
from pipelines.records.manifest import Record, read_manifest
from pipelines.records.outputs import LATENTS, Output
from pipelines.records.photos import Origin
from tests.factories import SIZE, FakeChain, FakeFaces, GivenCrops, align_job, edit_job, picture, write_photos
from tests.pipelines.engine.output.test_outputs import HalfMasked

PHOTOS = "photos/smile+2"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos that were decoded to be pasted into."""
    seen: list[str] = []
    real = paste._open

    def noting(origin):  # type: ignore[no-untyped-def]
        seen.append(Path(origin.path).name)
        return real(origin)

    monkeypatch.setattr(paste, "_open", noting)
    return seen


def pictures(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in (folder / "photos").rglob("*.png"))


def test_a_photo_is_opened_once_and_written_once(tmp_path: Path, opened: list[str]) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    job = edit_job(raw, out, ["smile=+2", "age=-1"], fake=FakeFaces(count=3), paste=True, faces="all")
    assert run_job(job).ok == 6
    assert sorted(opened) == ["p00.png", "p01.png"]
    assert pictures(out) == [f"photos/{edit}/p0{n}.png" for edit in ("age-1", "smile+2") for n in (0, 1)]
    records = read_manifest(out)
    assert records["p00"].outputs[PHOTOS] == f"{PHOTOS}/p00.png"
    assert PHOTOS not in records["p00.1"].outputs
    assert run_job(job).skipped == 6


def test_outside_the_mask_the_photo_stays_bit_for_bit(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 1), tmp_path / "out"
    run_job(edit_job(raw, out, chain=HalfMasked(), paste=True, compose="half"))
    made = decode((out / PHOTOS / "p00.png").read_bytes())
    changed = (made != picture(0)).any(2)
    assert changed[:SIZE, : SIZE // 2].mean() > 0.5
    changed[: SIZE + 1, : SIZE // 2 + 1] = False  # the crop lies half a pixel off the photo's raster
    assert not changed.any()


def test_a_face_that_fails_does_not_block_its_photo(tmp_path: Path, opened: list[str]) -> None:
    class Failing(FakeChain):
        def edit(self, faces, inversion, edits):  # type: ignore[no-untyped-def]
            made = super().edit(faces, inversion, edits)
            made.edits["smile+2"].image[0] = float("nan")
            return made

    raw, out = write_photos(tmp_path / "raw", 1), tmp_path / "out"
    options = {"fake": FakeFaces(count=3), "paste": True, "faces": "all", "batch_size": 3}
    summary = run_job(edit_job(raw, out, chain=Failing(), **options))  # type: ignore[arg-type]
    assert (summary.ok, summary.failures) == (2, {"diverged": 1})
    assert pictures(out) == [f"{PHOTOS}/p00.png"]
    first = (out / PHOTOS / "p00.png").read_bytes()
    assert run_job(edit_job(raw, out, **options)).ok == 3  # type: ignore[arg-type]
    assert (out / PHOTOS / "p00.png").read_bytes() != first
    assert len(opened) == 2


def crops_of(tmp_path: Path, photos: int = 3) -> Path:
    raw = write_photos(tmp_path / "raw", photos)
    run_job(align_job(raw, tmp_path / "faces", FakeFaces(count=3), faces="all"))
    return tmp_path / "faces"


def test_crops_of_one_photo_come_together(tmp_path: Path, opened: list[str]) -> None:
    faces = crops_of(tmp_path)
    whole, crops = tmp_path / "whole", tmp_path / "crops"
    run_job(edit_job(tmp_path / "raw", whole, fake=FakeFaces(count=3), paste=True, faces="all"))
    opened.clear()
    assert run_job(edit_job(faces, crops, fake=GivenCrops(), paste=True)).ok == 9
    assert sorted(opened) == ["p00.png", "p01.png", "p02.png"]
    assert pictures(crops) == pictures(whole)
    for name in pictures(whole):
        assert (crops / name).read_bytes() == (whole / name).read_bytes()
    assert run_job(edit_job(faces, crops, fake=GivenCrops(), paste=True)).skipped == 9
    chain = FakeChain()
    (crops / PHOTOS / "p00.png").unlink()
    assert run_job(edit_job(faces, crops, chain=chain, fake=GivenCrops(), paste=True)).ok == 3
    assert chain.inverted == []
    assert (crops / PHOTOS / "p00.png").read_bytes() == (whole / PHOTOS / "p00.png").read_bytes()


def test_a_crop_that_is_gone_or_changed_makes_its_photo_anew(tmp_path: Path, opened: list[str]) -> None:
    faces, out = crops_of(tmp_path), tmp_path / "out"
    run_job(edit_job(faces, out, fake=GivenCrops(), paste=True))
    opened.clear()
    (faces / "p00.1.png").unlink()
    assert run_job(edit_job(faces, out, fake=GivenCrops(), paste=True)).ok == 2
    Image.fromarray(picture(77, SIZE)).save(faces / "p01.2.png")
    assert run_job(edit_job(faces, out, fake=GivenCrops(), paste=True)).ok == 3
    assert opened == ["p00.png", "p01.png"]


def test_shards_and_workers_take_a_photo_whole(tmp_path: Path) -> None:
    faces, plain, sharded = crops_of(tmp_path, 5), tmp_path / "plain", tmp_path / "sharded"
    run_job(edit_job(faces, plain, fake=GivenCrops(), paste=True))
    for shard in ("2/2", "1/2"):
        run_job(edit_job(faces, sharded, fake=GivenCrops(), paste=True, shard=shard))
    assert {n: (plain / n).read_bytes() for n in pictures(plain)} == {
        n: (sharded / n).read_bytes() for n in pictures(sharded)
    }
    photos = list_input(faces, InputOptions(use_run=True, grouped=True)).photos
    assert len(list(photos.part(2, None))) == 6
    tasks = [Task(index, photo) for index, photo in enumerate(photos)]
    ledger = Ledger(tmp_path / "none", {}, ())
    for shards in (divide_among(tasks, ledger, ["cpu"], 4), list(shards_of(tasks, ledger, ["cpu"], 1, 4))):
        assert sum(len(shard.tasks) for shard in shards) == 15
        for shard in shards:
            assert not shard.tasks[0].photo.follows
            assert len(shard.tasks) % 3 == 0


def test_a_photo_that_has_changed_fails_its_first_face(tmp_path: Path) -> None:
    faces, out = crops_of(tmp_path, 1), tmp_path / "out"
    Image.fromarray(picture(5)).save(tmp_path / "raw" / "p00.png")
    summary = run_job(edit_job(faces, out, fake=GivenCrops(), paste=True))
    assert (summary.ok, summary.failures) == (2, {"changed": 1})
    assert (out / LATENTS / "p00.safetensors").is_file()


def test_a_run_that_stops_early_notes_the_faces_of_open_photos(tmp_path: Path) -> None:
    writer_paster = paste.Paster(tmp_path)
    faces, out = crops_of(tmp_path, 1), tmp_path / "out"
    run_job(edit_job(faces, out, fake=GivenCrops(), paste=True))
    record = read_manifest(out)["p00"]
    origin = paste.Origin(str(tmp_path / "raw/p00.png"), "", ((0, 0), (0, 1), (1, 1), (1, 0)))
    place = paste.PastePlace("p00", 0, 2, origin)
    result = paste.Result(record, place=place)
    assert writer_paster.take(result, record) == []
    assert [noted for _, noted in writer_paster.left()] == [record]
    assert writer_paster.take(replace(result, place=None), record) == [(replace(result, place=None), record)]
    assert decode((out / PHOTOS / "p00.png").read_bytes()).shape == (64, 64, 3)


def test_of_several_faces_the_first_has_its_photo_decoded_and_few_photos_wait(
    tmp_path: Path, opened: list[str]
) -> None:
    photos = write_photos(tmp_path / "raw", 4)
    image = picture(0)[:64, :64].copy()
    kept = np.full((64, 64), 255, np.uint8)
    output = Output(PHOTOS, "photo", "", "test")
    taken: list[list[paste.Noted]] = []
    paster = paste.Paster(tmp_path)

    def take(photo: Path, face: int) -> None:
        digest = hashlib.sha256(photo.read_bytes()).hexdigest()
        record = Record(f"{photo.stem}.{face}", str(photo), digest, outputs={"smile+2": "smile+2/x.png"})
        place = PastePlace(photo.stem, face, 2, Origin(str(photo), digest, ((0, 0), (0, 64), (64, 64), (64, 0))))
        change = Change(output, image ^ 255, image, kept)
        taken.append(paster.take(Result(record, place=place, changes=(change,)), record))

    for photo in sorted(photos.rglob("*.png"), key=lambda path: path.name):
        take(photo, 0)
    paster._reader.submit(lambda: None).result()
    assert sorted(opened) == ["p00.png", "p01.png"]
    for photo in sorted(photos.rglob("*.png"), key=lambda path: path.name):
        take(photo, 1)
    assert sorted(opened) == [f"p0{n}.png" for n in range(4)]
    assert [len(each) for each in taken] == [0] * 4 + [2] * 4
    assert len(pictures(tmp_path)) == 4
