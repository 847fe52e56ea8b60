"""The stream on fake parts: resume, failures, several faces, batches, memory trouble, full disks."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.engine.events import ProgressEvent
from pipelines.engine.output import writer
from pipelines.engine.run import run_job
from pipelines.errors import NoInputError, OutputError, UsageError
from pipelines.files import write_atomic
from pipelines.images.jpeg import NO_END_MARKER
from pipelines.records.manifest import read_manifest
from tests.factories import (
    FakeChain,
    FakeFaces,
    GivenCrops,
    align_job,
    edit_job,
    face_names,
    output_files,
    picture,
    write_photo,
    write_photos,
)


def test_align_writes_every_photo_once_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 7), tmp_path / "faces"
    first = run_job(align_job(raw, out, workers=2))
    assert (first.ok, first.failed, first.skipped, first.total, first.exit_code) == (7, 0, 0, 7, 0)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."}
    second = run_job(align_job(raw, out))
    assert (second.ok, second.skipped, second.total, second.exit_code) == (0, 7, 7, 0)
    assert before == {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name[0] != "."
    }
    assert sorted(output_files(out)) == [f"p{n:02d}.png" for n in (0, 1, 3, 4, 6)] + ["sub/p02.png", "sub/p05.png"]
    assert json.loads((out / "run.json").read_text())["counts"]["ok"] == 7


def test_bad_photos_are_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    (raw / "empty.jpg").write_bytes(b"")
    (raw / "text.png").write_text("not a picture")
    (raw / "cut.png").write_bytes((raw / "p00.png").read_bytes()[:900])
    (raw / "broken.jpg").symlink_to(raw / "nowhere.jpg")
    (raw / "circle.jpg").symlink_to(raw / "circle.jpg")
    os.mkfifo(raw / "pipe.jpg")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(raw / "black.png")
    write_photo(raw / "folder.jpg" / "inner.png", 3)
    for name in ("-dash.png", "new\nline.png", "smile😀.png"):
        write_photo(raw / name, 4)
    (raw / os.fsdecode(b"latin\xe9.png")).write_bytes((raw / "p00.png").read_bytes())
    summary = run_job(edit_job(raw, out, workers=1))
    records = read_manifest(out)
    codes = {key: record.error.code for key, record in records.items() if record.error}
    assert set(codes) == {"empty", "text", "cut", "broken", "circle", "pipe", "black"}
    assert codes["black"] == "no-face"
    assert sum(summary.failures.values()) == summary.failed == 7
    assert summary.ok == 7
    assert summary.exit_code == 3
    assert (out / "smile+2" / "folder.jpg" / "inner.png").is_file()
    assert (out / "smile+2" / "new\nline.png").is_file()
    again = run_job(edit_job(raw, out))
    assert (again.ok, again.skipped, again.failed) == (0, 7, 7)
    (raw / "empty.jpg").unlink()
    write_photo(raw / "empty.jpg", 9)
    write_photo(raw / "new.png", 10)
    retried = run_job(edit_job(raw, out, retry_failed=True))
    assert (retried.ok, retried.failed) == (1, 6)
    assert not (out / "smile+2" / "new.png").exists()


def test_nothing_succeeded_is_exit_4(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.png").write_bytes(b"")
    assert run_job(align_job(raw, tmp_path / "out")).exit_code == 4


def test_touched_changed_and_deleted(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 4), tmp_path / "out"
    chain = FakeChain()
    run_job(edit_job(raw, out, chain=chain))
    assert len(chain.inverted) == 4
    os.utime(raw / "p00.png", (1, 1))  # touched: read once more, nothing else
    write_photo(raw / "p01.png", 99)  # changed: all of it again
    (out / "smile+2" / "p03.png").unlink()  # deleted: that file again, from the codes on disk
    chain = FakeChain()
    summary = run_job(edit_job(raw, out, chain=chain))
    assert (summary.ok, summary.skipped, summary.total) == (2, 2, 4)
    assert chain.inverted == ["sub/p99" if 99 % 3 == 2 else "p99"]
    assert (out / "smile+2" / "p03.png").is_file()
    assert run_job(edit_job(raw, out)).skipped == 4
    assert read_manifest(out)["p00"].stat == (os.stat(raw / "p00.png").st_size, 10**9)


def test_later_edits_join_the_earlier_ones_and_reuse_codes(tmp_path: Path) -> None:
    raw, out, once = write_photos(tmp_path / "raw", 3), tmp_path / "out", tmp_path / "once"
    run_job(edit_job(raw, out, ["smile=+2"]))
    chain = FakeChain()
    summary = run_job(edit_job(raw, out, ["age=-1"], chain=chain))
    assert summary.ok == 3
    assert chain.inverted == []
    assert set(read_manifest(out)["p00"].outputs) == {"inversion", "latents", "smile+2", "age-1"}
    assert run_job(edit_job(raw, out, ["smile=2", "age=-1"])).skipped == 3
    run_job(edit_job(raw, once, ["smile=+2", "age=-1"]))
    assert output_files(out) == output_files(once)


def test_stale_codes_are_made_anew_and_named(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out))
    chain = FakeChain()
    summary = run_job(edit_job(raw, out, chain=chain, codes="another method"))
    assert chain.inverted == ["p00", "p01"]
    assert any("2 codes that were found are not used" in warning for warning in summary.warnings)


def test_damaged_codes_are_made_anew(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out))
    good = output_files(out)
    (out / "latents" / "p00.safetensors").write_bytes(b"garbage")
    (out / "smile+2" / "p00.png").unlink()
    assert run_job(edit_job(raw, out, overwrite=False)).failed == 0
    assert output_files(out)["smile+2/p00.png"] == good["smile+2/p00.png"]


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_results_do_not_depend_on_batches_workers_or_shards(tmp_path: Path, batch_size: int) -> None:
    raw = write_photos(tmp_path / "raw", 7)
    run_job(edit_job(raw, tmp_path / "plain"))
    run_job(edit_job(raw, tmp_path / "batched", batch_size=batch_size, workers=2))
    for shard in ("3/3", "1/3", "2/3"):
        run_job(edit_job(raw, tmp_path / "sharded", batch_size=batch_size, shard=shard))
    plain = output_files(tmp_path / "plain")
    assert output_files(tmp_path / "batched") == plain
    sharded = {name: data for name, data in output_files(tmp_path / "sharded").items() if not name.startswith("run.")}
    assert sharded == plain
    assert len(read_manifest(tmp_path / "sharded")) == 7
    assert not (tmp_path / "sharded" / "manifest.d").exists()


def test_out_of_memory_halves_the_batch_for_good(tmp_path: Path) -> None:
    chain = FakeChain(limit=2)
    summary = run_job(edit_job(write_photos(tmp_path / "raw", 8), tmp_path / "out", chain=chain, batch_size=8))
    assert summary.ok == 8
    assert chain.batches == [2, 2, 2, 2]
    none = run_job(edit_job(tmp_path / "raw", tmp_path / "none", chain=FakeChain(limit=0)))
    assert none.failures == {"out-of-memory": 8}


def test_a_result_with_nan_fails_alone(tmp_path: Path) -> None:
    class Diverging(FakeChain):
        def edit(self, faces, inversion, edits):  # type: ignore[no-untyped-def]
            made = super().edit(faces, inversion, edits)
            for place, name in enumerate(face_names(faces)):
                if name == "p01":
                    made.edits["smile+2"].image[place, 0, 0, 0] = float("nan")
            return made

    summary = run_job(edit_job(write_photos(tmp_path / "raw", 4), tmp_path / "out", chain=Diverging(), batch_size=4))
    assert (summary.ok, summary.failures) == (3, {"diverged": 1})


def test_all_faces_get_their_keys_and_a_missing_one_is_made_again(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    summary = run_job(align_job(raw, out, FakeFaces(count=3), faces="all"))
    assert (summary.ok, summary.total) == (6, 6)
    assert sorted(output_files(out)) == sorted(f"p0{n}{face}.png" for n in (0, 1) for face in ("", ".1", ".2"))
    (out / "p01.2.png").unlink()
    again = run_job(align_job(raw, out, FakeFaces(count=3), faces="all"))
    assert (again.ok, again.skipped, again.total) == (1, 5, 6)
    write_photo(raw / "p00.png", 77)  # now with fewer faces
    run_job(align_job(raw, out, FakeFaces(count=1), faces="all"))
    records = read_manifest(out)
    assert [records[key].status for key in ("p00", "p00.1", "p00.2", "p01.1")] == ["ok", "skipped", "skipped", "ok"]


def test_paste_writes_photos_and_names_a_changed_photo(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out, ["smile=+2"]))
    summary = run_job(edit_job(raw, out, ["smile=+2"], paste=True))
    assert summary.ok == 2
    with Image.open(out / "photos" / "smile+2" / "p00.jpg") as pasted:
        assert pasted.size == (64, 64)
    assert run_job(edit_job(raw, out, ["smile=+2"], paste=True)).skipped == 2


def test_crops_whose_photo_nobody_knows_are_named_once_with_the_reason(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    summary = run_job(edit_job(raw, out, fake=GivenCrops(), paste=True))
    assert (summary.ok, (out / "photos").exists()) == (2, False)
    [warning] = summary.warnings
    assert warning.startswith("2 faces ('p00', 'p01') are not pasted: they are crops")


def test_a_jpeg_without_its_end_is_used_and_that_is_told_and_noted(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name, end in (("whole", None), ("endless", -2)):
        buffer = io.BytesIO()
        Image.fromarray(picture(1)).save(buffer, "JPEG")
        (raw / f"{name}.jpg").write_bytes(buffer.getvalue()[:end])
    summary = run_job(align_job(raw, out, workers=1))
    assert summary.ok == 2
    assert summary.warnings == [f"{NO_END_MARKER}: 1 photos ('endless')"]
    records = read_manifest(out)
    assert {key: record.notes for key, record in records.items()} == {"endless": (NO_END_MARKER,), "whole": ()}


def test_a_decoder_that_dies_costs_one_photo(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 5), tmp_path / "out"
    summary = run_job(align_job(raw, out, FakeFaces(die_on="p01"), workers=1))
    assert (summary.ok, summary.failures, summary.exit_code) == (4, {"decode-crashed": 1}, 3)
    assert any("'p01'" in warning for warning in summary.warnings)


def test_full_disk_stops_cleanly_and_a_later_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = write_photos(tmp_path / "raw", 6), tmp_path / "out"
    real, written = write_atomic, list[Path]()

    def full(path: Path, data: bytes) -> None:
        if len(written) >= 7:
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise OutputError(f"cannot write '{path}': the disk is full") from cause
        written.append(path)
        real(path, data)

    monkeypatch.setattr(writer, "write_atomic", full)
    with pytest.raises(OutputError, match="disk is full") as caught:
        run_job(edit_job(raw, out))
    assert caught.value.exit_code == 3
    assert 1 <= len(read_manifest(out)) < 6
    monkeypatch.undo()
    assert run_job(edit_job(raw, out)).skipped >= 1
    run_job(edit_job(raw, tmp_path / "fresh"))
    assert output_files(out) == output_files(tmp_path / "fresh")


def test_max_errors_and_events(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_photos(raw, 12)
    for number in range(12):
        (raw / f"bad{number:02d}.png").write_bytes(b"")
    events: list[ProgressEvent] = []
    summary = run_job(align_job(raw, tmp_path / "out", max_errors=2), events.append)
    assert summary.failed >= 2
    assert summary.ok == 0
    assert not summary.complete
    assert [event.kind for event in events][:2] == ["start", "item"]
    assert events[0].total == 24
    assert events[-1].kind == "end"


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 2)
    with pytest.raises(UsageError, match="is the input"):
        run_job(align_job(raw, raw))
    with pytest.raises(UsageError, match="would lie in their input"):
        run_job(align_job(raw, raw / "faces.run"))
    with pytest.raises(UsageError, match="own input"):
        run_job(align_job(raw / "p00.png", raw))
    with pytest.raises(UsageError, match="own input"):
        run_job(align_job(raw, tmp_path))
    with pytest.raises(UsageError, match="is a file"):
        run_job(align_job(raw, raw / "p00.png"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p00.png").write_text("precious")
    with pytest.raises(UsageError, match="in the way"):
        run_job(align_job(raw, tmp_path / "mine"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no picture"):
        run_job(align_job(tmp_path / "empty", tmp_path / "out"))
    run_job(align_job(raw, tmp_path / "out"))
    with pytest.raises(UsageError, match="--no-resume"):
        run_job(align_job(raw, tmp_path / "out", resume=False))
    assert run_job(align_job(raw, tmp_path / "out", overwrite=True)).ok == 2
    assert (tmp_path / "mine" / "p00.png").read_text() == "precious"
