"""Results that leave their folder while several processes make them, and stores that are slower than the run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.destination import run_to_destination
from pipelines.engine.job import Job
from pipelines.engine.output import shards as pack
from pipelines.engine.output import transfer as moving
from pipelines.engine.output.transfer import NAME, Gate, Moving
from pipelines.errors import OutputError
from pipelines.records import uploads as upload
from pipelines.records.manifest import Record, read_manifest
from pipelines.specs import AlignSpec
from pipelines.storage import remote
from pipelines.storage.remote import find_files
from tests.factories import FakeFaces, output_files, write_photos
from tests.pipelines.engine.test_destination import archives, edits, faces, spec_of


def on_two(spec: AlignSpec, fake: FakeFaces | None = None) -> Job:
    return replace(faces(spec, fake), devices=("cpu", "cpu"))


def edits_on_two(spec: AlignSpec) -> Job:
    return replace(edits(["smile=1"], spec), devices=("cpu", "cpu"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_archives_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 14)
    (raw / "bad.png").write_bytes(b"")
    one, two = spec_of(raw, tmp_path / "1" / "o-{0..}.tar"), spec_of(raw, tmp_path / "2" / "o-{0..}.tar")
    run_to_destination(one, faces)
    summary = run_to_destination(two, on_two)
    assert (summary.ok, summary.failed, summary.exit_code) == (14, 1, 3)
    assert len(archives(tmp_path / "2")) == 4
    assert archives(tmp_path / "2") == archives(tmp_path / "1")
    assert not list((tmp_path / "2").rglob("*.png"))
    again = run_to_destination(two, on_two)
    assert (again.ok, again.failed, again.skipped) == (0, 1, 14)
    edited = spec_of(raw, tmp_path / "3" / "e.tar")
    assert run_to_destination(edited, edits_on_two).ok == 14
    assert len(output_files(tmp_path / "3" / "e.run")) == 1, "the list of what is packed, and no picture"


def test_uploads_of_two_processes(bucket: Any, tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 9)
    summary = run_to_destination(spec_of(raw, "memory://bucket/two"), on_two)
    assert summary.ok == 9
    assert sum(name.endswith(".png") for name in find_files("memory://bucket/two")) == 9


class Slow:
    """A store that takes its time."""

    def __init__(self, folder: Path, real: Any) -> None:
        self._folder = folder
        self._real = real
        self.most = 0

    def __call__(self, url: str, data: bytes) -> None:
        # os.walk passes over folders that go meanwhile; a glob does not.
        runs = [path for path in self._folder.iterdir() if path.suffix == ".run"]
        staged = sum(name.endswith(".png") for run in runs for *_, files in os.walk(run) for name in files)
        self.most = max(self.most, staged)
        time.sleep(0.05 if url.endswith(".png") else 0)
        self._real(url, data)


@pytest.mark.parametrize("job", [faces, on_two])
def test_a_slow_store_does_not_fill_the_disk(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Any
) -> None:
    monkeypatch.setattr(moving, "MOST_WAITING", 8)
    monkeypatch.setattr(moving, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(upload, "THREADS", 1)
    slow = Slow(tmp_path, remote.write_remote)
    monkeypatch.setattr(upload, "write_remote", slow)
    raw = write_photos(tmp_path / "raw", 90)
    summary = run_to_destination(spec_of(raw, "memory://bucket/slow"), partial(job, fake=FakeFaces(pause=0.02)))
    assert (summary.ok, summary.complete) == (90, True)
    assert 8 <= slow.most <= 70, (
        "8 waiting, 16 on their way, what the processes had in work, and a moment's inattention"
    )
    assert not list(tmp_path.glob(f"*.run/{NAME}"))
    assert sum(name.endswith(".png") for name in find_files("memory://bucket/slow")) == 90


def test_a_store_that_fails_while_the_run_waits_for_it_ends_the_run(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MOST_WAITING", 4)
    monkeypatch.setattr(moving, "LOOK_SECONDS", 0.02)
    gate = threading.Event()

    def refuse(url: str, data: bytes) -> None:
        assert gate.wait(120)
        raise OutputError("the line is cut")

    def closed() -> None:
        while not list(tmp_path.glob(f"*.run/{NAME}")):
            time.sleep(0.01)
        gate.set()

    monkeypatch.setattr(upload, "write_remote", refuse)
    raw = write_photos(tmp_path / "raw", 40)
    threading.Thread(target=closed, daemon=True).start()
    with pytest.raises(OutputError, match="the line is cut"):
        run_to_destination(spec_of(raw, "memory://bucket/cut"), partial(faces, fake=FakeFaces(pause=0.005)))
    assert not list(tmp_path.glob(f"*.run/{NAME}"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    summary = run_to_destination(spec_of(raw, "memory://bucket/cut"), faces)
    assert (summary.ok + summary.skipped, summary.failed) == (40, 0)


def test_a_gate_that_a_killed_run_left_closed_is_opened(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    Gate(tmp_path / "out").close()  # no such folder: nothing happens
    (tmp_path / "out").mkdir()
    Gate(tmp_path / "out").close()
    assert Gate(tmp_path / "out").closed()
    assert run_to_destination(spec_of(raw, tmp_path / "out"), faces).ok == 3
    assert not Gate(tmp_path / "out").closed()


def test_the_gate_follows_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "LOOK_SECONDS", 0.01)
    taken: list[str] = []
    go_on = threading.Event()

    class Mover:
        def take(self, records: Iterable[Record]) -> None:
            assert go_on.wait(120)
            taken.extend(record.key for record in records)

        def finish(self) -> None:
            raise AssertionError("not this test's")

    class Noted:
        """So many at once, then no more."""

        def __init__(self, count: int) -> None:
            self._left = [Record(f"k{number:03d}", "/x.png") for number in range(count)]

        def __iter__(self) -> Iterator[Record]:
            found, self._left = self._left, []
            return iter(found)

    gate = Gate(tmp_path)
    work = Moving(Mover(), Noted(200), gate)
    work.start()
    deadline = time.monotonic() + 120
    while not gate.closed():
        assert time.monotonic() < deadline
    go_on.set()
    while len(taken) < 200 or gate.closed():  # it opens after what was taken
        assert time.monotonic() < deadline
    work.stop()
    work.check()
    assert taken == [f"k{number:03d}" for number in range(200)]


def test_files_that_a_kill_left_after_their_archive_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 8)
    spec = spec_of(raw, tmp_path / "o-{0..}.tar")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pack, "remove_files", killed)
    with pytest.raises(KeyboardInterrupt):
        run_to_destination(spec, faces)
    monkeypatch.undo()
    assert list((tmp_path / "o.run").rglob("*.png"))
    run_to_destination(spec, faces)
    assert not list((tmp_path / "o.run").rglob("*.png"))
    assert {record.status for record in read_manifest(tmp_path / "o.run").values()} == {"ok"}
    run_to_destination(spec_of(raw, tmp_path / "w" / "o-{0..}.tar"), faces)
    assert archives(tmp_path) == archives(tmp_path / "w")
