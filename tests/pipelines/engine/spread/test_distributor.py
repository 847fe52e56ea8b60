"""Several processes: the same bytes however the work is spread, and what a killed worker costs."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.devices import device_names
from pipelines.engine.events import ProgressEvent
from pipelines.engine.job import Job
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.run import run_job
from pipelines.engine.spread.dispatch import Sending
from pipelines.engine.spread.shard import divide_among
from pipelines.engine.types import Task
from pipelines.errors import OutputError, UsageError
from pipelines.records.manifest import MANIFEST, ManifestWriter, Record, read_manifest
from pipelines.records.photos import Photo
from pipelines.specs import AlignSpec
from pipelines.types import FaceBatch, Inversion
from tests.factories import FakeChain, FakeFaces, align_job, edit_job, face_names, output_files, write_photos


def spread(job: Job, processes: int = 2) -> Job:
    return replace(job, devices=("cpu",) * processes)


class Deadly(FakeChain):
    """Kills its process at one face."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def invert(self, faces: FaceBatch) -> Inversion:
        if self._at in face_names(faces):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().invert(faces)


def test_device_names() -> None:
    assert device_names("cpu") == ("cpu",)
    assert device_names("cpu:3") == ("cpu", "cpu", "cpu")
    for name in ("cpu:0", "cpu:9999", "cuda:97,98", "cuda:0,0", "cuda:0,", "gpu", "cpu:x"):
        with pytest.raises(UsageError, match=name.partition(",")[0]):
            device_names(name)


def test_shares_are_contiguous_even_and_none_is_empty(tmp_path: Path) -> None:
    photos = [Photo(f"p{number}", f"/p{number}.png") for number in range(7)]
    tasks = [Task(number, photo) for number, photo in enumerate(photos)]
    records = {key: Record(key, f"/{key}.png") for key in ("p0", "p0.1", "p6", "p7")}
    shards = divide_among(tasks, Ledger(tmp_path, records, ()), ("a", "b"), 3)
    keys = [[task.photo.key for task in shard.tasks] for shard in shards]
    assert keys == [["p0", "p1"], ["p2", "p3"], ["p4", "p5", "p6"]]
    assert [shard.device for shard in shards] == ["a", "b", "a"]
    assert [[task.index for task in shard.tasks] for shard in shards] == [[0, 1], [0, 1], [0, 1, 2]]
    assert [set(shard.records) for shard in shards] == [{"p0", "p0.1"}, set(), {"p6"}]
    assert len(divide_among(tasks[:2], Ledger(tmp_path, {}, ()), ("a",), 8)) == 2


def test_two_processes_write_the_bytes_of_one(tmp_path: Path) -> None:
    raw, events = write_photos(tmp_path / "raw", 9), list[ProgressEvent]()
    (raw / "bad.png").write_bytes(b"")
    run_job(edit_job(raw, tmp_path / "one"))
    summary = run_job(spread(edit_job(raw, tmp_path / "two", workers=1)), events.append)
    assert (summary.ok, summary.failures, summary.total, summary.exit_code) == (9, {"empty-file": 1}, 10, 3)
    assert output_files(tmp_path / "two") == output_files(tmp_path / "one")
    assert not (tmp_path / "two" / "manifest.d").exists()
    one, two = (read_manifest(tmp_path / name) for name in ("one", "two"))
    assert list(one) == list(two)
    assert [one[key].prints for key in one] == [two[key].prints for key in two]
    assert [event.kind for event in events] == ["start", *["item"] * 10, "end"]
    again = run_job(spread(edit_job(raw, tmp_path / "two")))
    assert (again.ok, again.failed, again.skipped) == (0, 1, 9)


def test_all_faces_of_align_over_two_processes(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 5)
    summary = run_job(spread(align_job(raw, tmp_path / "out", FakeFaces(count=3), faces="all")))
    assert (summary.ok, summary.total) == (15, 15)
    run_job(align_job(raw, tmp_path / "one", FakeFaces(count=3), faces="all"))
    assert output_files(tmp_path / "out") == output_files(tmp_path / "one")


def test_a_worker_that_dies_costs_what_it_had_in_work(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 12), tmp_path / "out"
    half = out / "latents" / "p03.safetensors.0123456789ab.part"

    def leave(event: ProgressEvent) -> None:
        """What a worker leaves that dies while it writes: surely, not by chance."""
        if event.kind == "item":
            half.parent.mkdir(parents=True, exist_ok=True)
            half.touch()

    summary = run_job(spread(edit_job(raw, out, chain=Deadly("p03"))), leave)
    assert summary.exit_code == 3
    assert not summary.complete
    # Up to six may be in work, and five are named, in order: the fourth of all is always one of these.
    assert any("worker process died" in warning and "'p03'" in warning for warning in summary.warnings)
    assert 6 <= summary.ok < 12
    done = {key for key, record in read_manifest(out).items() if record.status == "ok"}
    assert len(done) == summary.ok
    assert "p03" not in done
    assert not list(out.rglob("*.part"))  # what the dead worker was writing
    again = run_job(spread(edit_job(raw, out)))
    assert (again.ok, again.skipped, again.exit_code) == (12 - summary.ok, summary.ok, 0)
    run_job(edit_job(raw, tmp_path / "one"))
    assert output_files(out) == output_files(tmp_path / "one")
    assert (out / MANIFEST).read_text().count("\n") == 12


def test_what_a_neighbour_finishes_after_a_death_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out, late = write_photos(tmp_path / "raw", 12), tmp_path / "out", list[str]()
    end = Sending.end

    def last_photo(sending: Sending) -> None:
        """A worker's last record, which came when the run had looked for the last time."""
        done, _ = sending.left()
        number, task = next(
            (n, task) for n, s in enumerate(sending._out) if s for task in s.tasks if task.photo.key not in done
        )
        late.append(task.photo.key)
        writer = ManifestWriter(out, f"{sending._name(number)}-late")
        writer.append(Record(task.photo.key, task.photo.path))
        writer.close()
        end(sending)

    monkeypatch.setattr(Sending, "end", last_photo)
    summary = run_job(spread(edit_job(raw, out, chain=Deadly("p03"))))
    done = {key for key, record in read_manifest(out).items() if record.status == "ok"}
    assert late
    assert set(late) <= done
    assert summary.ok == len(done)


def test_a_worker_that_cannot_start_ends_the_run(tmp_path: Path) -> None:
    def suicide(device: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    job = spread(edit_job(write_photos(tmp_path / "raw", 4), tmp_path / "out"))
    summary = run_job(replace(job, make_work=suicide))  # type: ignore[arg-type]
    assert (summary.ok, summary.complete) == (0, False)
    assert summary.exit_code != 0


def test_max_errors_counts_over_all_processes(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 40)
    for number in range(40):
        (raw / f"bad{number:02d}.png").write_bytes(b"")
    summary = run_job(spread(align_job(raw, tmp_path / "out", FakeFaces(pause=0.05), max_errors=3)))
    assert not summary.complete
    assert 3 <= summary.failed < 40
    assert any("--max-errors" in warning for warning in summary.warnings)


def test_what_stops_a_worker_stops_the_run_with_its_sentence(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 6), tmp_path / "out"

    def obstruct() -> None:
        (out / "inversion").write_text("a file where a folder must be")

    with pytest.raises(OutputError, match="inversion"):
        run_job(replace(spread(edit_job(raw, out)), prepare=obstruct))
    (out / "inversion").unlink()
    assert run_job(spread(edit_job(raw, out))).ok == 6


def test_a_scheduler_and_dask_go_together(tmp_path: Path) -> None:
    for options in ({"backend": "dask"}, {"scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(ValueError, match="scheduler"):
            AlignSpec(input=tmp_path, output=tmp_path / "out", **options)  # type: ignore[arg-type]
