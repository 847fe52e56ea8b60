"""Runs over large folders: the same results as over small ones, but nothing waits for the listing's end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.events import ProgressEvent, RunSummary
from pipelines.engine.input import listing as source
from pipelines.engine.job import Job
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.manifest import MANIFEST, read_manifest
from tests.factories import FakeFaces, align_job, edit_job, output_files, write_photo, write_photos


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three photos make a large folder."""
    monkeypatch.setattr(source, "LISTED_FIRST", 2)


def counts(summary: RunSummary) -> tuple[int, int, int, int]:
    return summary.ok, summary.failed, summary.skipped, summary.total


def test_the_first_item_is_done_before_the_last_folder_is_listed(
    tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 12)
    write_photo(raw / "zz" / "last.png", 1)
    first, waited = threading.Event(), list[bool]()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("zz/") and threading.current_thread().name != "count":
            waited.append(first.wait(30))
        return real(path)

    def told(event: ProgressEvent) -> None:
        if event.kind == "item":
            first.set()

    monkeypatch.setattr(os, "scandir", scandir)
    summary = run_job(align_job(raw, tmp_path / "out"), told)
    assert waited == [True]
    assert counts(summary) == (13, 0, 0, 13)


@pytest.mark.parametrize("make", [align_job, edit_job])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_files_and_counts_are_those_of_a_listed_run(
    tmp_path: Path, make: Callable[..., Job], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 9)
    (raw / "bad.png").write_bytes(b"")
    (raw / "notes.doc").touch()
    listed = run_job(make(raw, tmp_path / "listed"))
    monkeypatch.setattr(source, "LISTED_FIRST", 3)
    out, events = tmp_path / "streamed", list[ProgressEvent]()
    job = make(raw, out, workers=workers)
    assert not job.listing.photos.whole
    streamed = run_job(job, events.append)
    assert counts(streamed) == counts(listed) == (9, 1, 0, 10)
    assert (streamed.failures, streamed.warnings) == (listed.failures, listed.warnings)
    assert output_files(out) == output_files(tmp_path / "listed")
    assert [event.kind for event in events if event.kind != "warning"] == ["start", *["item"] * 10, "end"]
    assert events[-1].total == 10
    again = run_job(make(raw, out))
    assert counts(again) == (0, 1, 9, 10)
    write_photo(raw / "bad.png", 7)
    write_photo(raw / "new.png", 8)
    retried = run_job(make(raw, out, retry_failed=True))
    assert (retried.ok, retried.failed, retried.skipped) == (1, 0, 9)
    assert counts(run_job(make(raw, out))) == (1, 0, 10, 11)
    before = (out / MANIFEST).stat().st_mtime_ns
    assert counts(run_job(make(raw, out))) == (0, 0, 11, 11)
    assert (out / MANIFEST).stat().st_mtime_ns == before


def test_several_faces_shards_and_limits(tmp_path: Path, large: None) -> None:
    raw = write_photos(tmp_path / "raw", 7)
    faces = FakeFaces(count=2)
    summary = run_job(align_job(raw, tmp_path / "all", faces, faces="all"))
    assert counts(summary) == (14, 0, 0, 14)
    assert counts(run_job(align_job(raw, tmp_path / "all", faces, faces="all"))) == (0, 0, 14, 14)
    for shard in ("2/3", "1/3", "3/3"):
        run_job(align_job(raw, tmp_path / "shards", shard=shard))
    run_job(align_job(raw, tmp_path / "whole"))
    assert set(read_manifest(tmp_path / "shards")) == set(read_manifest(tmp_path / "whole"))
    assert counts(run_job(align_job(raw, tmp_path / "few", limit=4))) == (4, 0, 0, 4)
    assert list(read_manifest(tmp_path / "few")) == list(read_manifest(tmp_path / "whole"))[:4]


def test_photos_of_one_name_have_keys_of_their_own(tmp_path: Path, large: None) -> None:
    raw, out = write_photos(tmp_path / "raw", 5), tmp_path / "out"
    write_photo(raw / "z.jpg", 1)
    write_photo(raw / "z.png", 2)
    summary = run_job(align_job(raw, out))
    assert counts(summary) == (7, 0, 0, 7)
    assert {path.name for path in out.glob("z*")} == {"z.png", "z.png.png"}
    assert counts(run_job(align_job(raw, out))) == (0, 0, 7, 7)


def test_a_photo_that_the_run_would_write_over_fails(tmp_path: Path, large: None) -> None:
    raw, out = write_photos(tmp_path / "raw", 5), tmp_path / "out"
    precious = write_photo(out / "z.png", 77)
    (raw / "z.png").symlink_to(precious)
    (out / MANIFEST).touch()  # else the file in the way is refused at the start
    before = precious.read_bytes()
    summary = run_job(align_job(raw, out))
    assert (summary.ok, summary.failures) == (5, {"own-input": 1})
    spread = replace(align_job(raw, out, overwrite=True), devices=("cpu", "cpu"))
    assert run_job(spread).failures == {"own-input": 1}
    assert precious.read_bytes() == before
    (out / MANIFEST).unlink()
    (out / ".ganinv.lock").unlink()
    with pytest.raises(UsageError, match="in the way"):
        run_job(align_job(raw, out))


def test_a_stopped_run_goes_on(tmp_path: Path, large: None) -> None:
    raw, out = write_photos(tmp_path / "raw", 20), tmp_path / "out"
    for number in range(6):
        (raw / f"bad{number}.png").write_bytes(b"")
    summary = run_job(align_job(raw, out, max_errors=2))
    assert not summary.complete
    assert summary.ok < 20

    def interrupt(event: ProgressEvent) -> None:
        if event.done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(align_job(raw, out, workers=1), interrupt)
    assert run_job(align_job(raw, out)).failed == 6
    run_job(align_job(raw, tmp_path / "fresh"))
    assert output_files(out) == output_files(tmp_path / "fresh")
