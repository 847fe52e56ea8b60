"""Every kind of input is found while the run goes on: results are on disk before the input has come to its end."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.device.align_only import AlignOnly
from pipelines.engine.events import ProgressEvent
from pipelines.engine.input import archive as members_module
from pipelines.engine.input import listing as source
from pipelines.engine.input.keys import Naming, apart
from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.job import Job
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.run import run_job
from pipelines.engine.spread import shard
from pipelines.engine.spread.shard import shards_of
from pipelines.engine.types import Task
from pipelines.errors import NoInputError, UsageError
from pipelines.records.manifest import read_manifest
from pipelines.records.photos import Photo
from pipelines.storage import remote
from pipelines.storage import tar_index as tarball
from pipelines.storage.lines import FileLines
from tests.factories import align_job, edit_job, output_files, write_photo, write_photos
from tests.pipelines.engine.spread.test_distributor import Deadly
from tests.pipelines.storage.test_tar_index import make_tar, photo

COUNT = 14


class Gate:
    """Holds up whoever lists the input until a result is on disk; the thread that only counts may pass."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.waited: list[bool] = []

    def wait(self) -> None:
        if threading.current_thread().name == "count":
            return
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not any(self._out.rglob("*.png")):
            time.sleep(0.02)
        self.waited.append(any(self._out.rglob("*.png")))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Inputs of three photos are large, first shares are small."""
    monkeypatch.setattr(source, "LISTED_FIRST", 2)
    monkeypatch.setattr(shard, "FIRST_SHARD", 2)
    monkeypatch.setattr(members_module, "HELD", 2)
    monkeypatch.setattr(members_module, "HELD_REMOTE", 2)
    return Gate(tmp_path / "out")


def write_list(tmp_path: Path, count: int = COUNT) -> Path:
    raw = write_photos(tmp_path / "raw", count)
    names = [path.relative_to(raw).as_posix() for path in sorted(raw.rglob("*.png"), reverse=True)]
    (raw / "list.txt").write_text("".join(f"{name}\n" for name in names))
    return raw / "list.txt"


def hold_lines(monkeypatch: pytest.MonkeyPatch, gate: Gate, number: int = COUNT - 1) -> None:
    """Line `number` (from 0) of list files comes when the gate lets it."""
    real = FileLines.__iter__

    def lines(self: FileLines) -> Iterator[str]:
        for place, line in enumerate(real(self)):
            if place == number:
                gate.wait()
            yield line

    monkeypatch.setattr(FileLines, "__iter__", lines)


def hold_members(monkeypatch: pytest.MonkeyPatch, gate: Gate, number: int = COUNT - 1) -> None:
    real = tarball.Scan.__iter__

    def members(self: tarball.Scan) -> Iterator[tarball.Member]:
        for place, member in enumerate(real(self)):
            if place == number:
                gate.wait()
            yield member

    monkeypatch.setattr(tarball.Scan, "__iter__", members)


def check(job: Job, gate: Gate, tmp_path: Path, count: int = COUNT) -> None:
    """A run that met the gate once, and then did everything."""
    assert not job.listing.photos.whole
    summary = run_job(job)
    assert gate.waited == [True], "nothing was on disk when the input was held up"
    assert (summary.ok, summary.failed, summary.skipped, summary.total) == (count, 0, 0, count)
    run_job(align_job(tmp_path / "raw", tmp_path / "plain"))
    found, plain = output_files(tmp_path / "out"), output_files(tmp_path / "plain")
    assert sorted(found.values()) == sorted(plain.values())


def test_a_list(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_lines(monkeypatch, gate)
    job = align_job(write_list(tmp_path), tmp_path / "out")
    check(job, gate, tmp_path)
    assert output_files(tmp_path / "out") == output_files(tmp_path / "plain")
    again = run_job(align_job(tmp_path / "raw" / "list.txt", tmp_path / "out"))
    assert (again.ok, again.skipped, again.total) == (0, COUNT, COUNT)


def test_a_list_over_several_devices(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_lines(monkeypatch, gate)
    job = replace(align_job(write_list(tmp_path), tmp_path / "out", workers=1), devices=("cpu", "cpu"))
    check(job, gate, tmp_path)
    assert output_files(tmp_path / "out") == output_files(tmp_path / "plain")
    assert not (tmp_path / "out" / "manifest.d").exists()


def test_a_shard_of_a_list(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_lines(monkeypatch, gate)
    paths = write_list(tmp_path)
    summary = run_job(align_job(paths, tmp_path / "out", shard="1/2"))
    assert gate.waited == [True]
    assert (summary.ok, summary.total) == (COUNT // 2, COUNT // 2)
    run_job(align_job(paths, tmp_path / "out", shard="2/2"))
    run_job(align_job(tmp_path / "raw", tmp_path / "plain"))
    found = {name: data for name, data in output_files(tmp_path / "out").items() if name.endswith(".png")}
    assert found == output_files(tmp_path / "plain")
    assert len(read_manifest(tmp_path / "out")) == COUNT


def test_shards_agree_whether_or_not_the_input_was_listed_in_time(tmp_path: Path, gate: Gate) -> None:
    paths = write_list(tmp_path, 7)
    lazy = list_input(paths).photos
    listed = tuple(lazy)
    for limit in (None, 5):
        for count in (1, 2, 3, 9):
            for index in range(1, count + 1):
                assert tuple(lazy.part(limit, (index, count))) == listed[:limit][index - 1 :: count]


def feed(write: Callable[[bytes], object], names: list[str], gate: Gate, close: Callable[[], None]) -> threading.Thread:
    """Writes the last name when a result is on disk."""

    def work() -> None:
        write("".join(f"{name}\n" for name in names[:-1]).encode())
        gate.wait()
        write(names[-1].encode())
        close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_a_pipe_that_is_still_written_to(tmp_path: Path, gate: Gate, devices: tuple[str, ...]) -> None:
    raw = write_photos(tmp_path / "raw", COUNT)
    out, into = os.pipe()
    names = [str(path) for path in raw.rglob("*.png")]
    thread = feed(lambda data: os.write(into, data), names, gate, lambda: os.close(into))
    with os.fdopen(out) as stdin:
        listing = list_input(Path("-"), InputOptions(stdin=stdin))
        job = replace(align_job(raw, tmp_path / "out"), listing=listing, devices=devices)
        check(job, gate, tmp_path)
    thread.join()


def test_a_named_pipe(tmp_path: Path, gate: Gate) -> None:
    raw = write_photos(tmp_path / "raw", COUNT)
    os.mkfifo(raw / "list.txt")
    names = [path.relative_to(raw).as_posix() for path in raw.rglob("*.png")]
    opened: list[io.FileIO] = []

    def write(data: bytes) -> None:
        if not opened:
            opened.append(io.FileIO(raw / "list.txt", "w"))
        opened[0].write(data)

    thread = feed(write, names, gate, lambda: opened[0].close())
    check(align_job(raw / "list.txt", tmp_path / "out"), gate, tmp_path)
    thread.join()


@pytest.mark.parametrize("workers", [0, 1])
def test_one_archive(tmp_path: Path, gate: Gate, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_photos(tmp_path / "raw", COUNT)
    path = make_tar(tmp_path / "s.tar", {f"{p.stem}.png": p.read_bytes() for p in sorted(raw.rglob("*.png"))})
    hold_members(monkeypatch, gate)
    check(align_job(path, tmp_path / "out", workers=workers), gate, tmp_path)


def test_several_archives_over_several_devices(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_photos(tmp_path / "raw", 10)
    for n, p in enumerate(sorted(raw.rglob("*.png"))):
        make_tar(tmp_path / f"s-{n}.tar", {"a.png": p.read_bytes()})
    real = tarball.Scan.__iter__

    def members(self: tarball.Scan) -> Iterator[tarball.Member]:
        if self._path.endswith("s-9.tar"):
            gate.wait()
        return real(self)

    monkeypatch.setattr(tarball.Scan, "__iter__", members)
    job = replace(align_job(tmp_path / "s-{0..9}.tar", tmp_path / "out"), devices=("cpu", "cpu"))
    check(job, gate, tmp_path, 10)


def test_a_remote_folder(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    raw = write_photos(tmp_path / "raw", COUNT - 1)
    write_photo(raw / "zz" / "last.png", 99)
    for path in raw.rglob("*.png"):
        remote.write_remote(f"memory://lazy/{path.relative_to(raw).as_posix()}", path.read_bytes())
    real = type(store).ls

    def ls(self: object, path: str, **options: object) -> Any:
        if path.endswith("zz"):
            gate.wait()
        return real(self, path, **options)

    monkeypatch.setattr(type(store), "ls", ls)
    try:
        check(align_job(Path("memory://lazy"), tmp_path / "out"), gate, tmp_path)
    finally:
        store.rm("/lazy", recursive=True)
    assert output_files(tmp_path / "out") == output_files(tmp_path / "plain")


def test_a_remote_archive(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    raw = write_photos(tmp_path / "raw", COUNT)
    path = make_tar(tmp_path / "s.tar", {f"{p.stem}.png": p.read_bytes() for p in raw.rglob("*.png")})
    remote.write_remote("memory://lazy/s.tar", path.read_bytes())
    hold_members(monkeypatch, gate)
    try:
        check(align_job(Path("memory://lazy/s.tar"), tmp_path / "out"), gate, tmp_path)
    finally:
        store.rm("/lazy", recursive=True)


def test_how_far_a_list_was_read_when_the_first_item_was_done(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    paths = raw / "list.txt"
    paths.write_text("p00.png\np01.png\n" + "".join(f"gone/{n}.png\n" for n in range(800)))
    real, read, at_first = FileLines.__iter__, [0], list[int]()

    def lines(self: FileLines) -> Iterator[str]:
        for line in real(self):
            read[0] += threading.current_thread().name != "count"
            yield line

    def told(event: ProgressEvent) -> None:
        if event.kind == "item":
            at_first.append(read[0])

    monkeypatch.setattr(FileLines, "__iter__", lines)
    summary = run_job(align_job(paths, tmp_path / "out"), told)
    assert (summary.ok, summary.failures, summary.total) == (2, {"vanished": 800}, 802)
    assert at_first[0] < 100 < 800 < at_first[-1]


def test_a_share_takes_no_more_than_it_holds(tmp_path: Path) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Task]:
        for number in range(10_000):
            taken.append(number)
            yield Task(number, Photo(f"p{number}", f"/p{number}.png"))

    shards = shards_of(tasks(), Ledger(tmp_path, {}, ()), ("a", "b"), 2, 100)
    sizes = []
    for share in shards:
        sizes.append(len(share.tasks))
        assert len(taken) == sum(sizes)
        assert [task.index for task in share.tasks] == list(range(sizes[-1]))
        if len(sizes) == 8:
            break
    assert sizes == [32, 32, 64, 64, 100, 100, 100, 100]


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_an_input_that_breaks_off_ends_the_run_with_its_sentence(
    tmp_path: Path, gate: Gate, devices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = write_list(tmp_path), tmp_path / "out"
    real = FileLines.__iter__

    def lines(self: FileLines) -> Iterator[str]:
        for place, line in enumerate(real(self)):
            if place == COUNT - 1:
                gate.wait()
                raise UsageError("the list is gone")
            yield line

    monkeypatch.setattr(FileLines, "__iter__", lines)
    with pytest.raises(UsageError, match="the list is gone"):
        run_job(replace(align_job(paths, out), devices=devices))
    done = len(read_manifest(out))
    assert 0 < done < COUNT
    monkeypatch.undo()
    assert run_job(align_job(paths, out)).skipped == done


def test_a_worker_that_dies_while_the_input_is_listed(tmp_path: Path, gate: Gate) -> None:
    paths, out = write_list(tmp_path, 30), tmp_path / "out"
    job = edit_job(paths, out, chain=Deadly("p07"))
    summary = run_job(replace(job, devices=("cpu", "cpu")))
    assert (summary.exit_code, summary.complete) == (3, False)
    assert any("'p07'" in warning for warning in summary.warnings)
    assert 18 <= summary.ok < 30, "all but what the dead process and its neighbour had in work"
    again = run_job(replace(edit_job(paths, out), devices=("cpu", "cpu")))
    assert (again.ok, again.skipped, again.exit_code) == (30 - summary.ok, summary.ok, 0)
    run_job(edit_job(paths, tmp_path / "one"))
    assert output_files(out) == output_files(tmp_path / "one")


@dataclass(frozen=True)
class Noting:
    """Makes a worker's models, and notes for which device and in which process."""

    log: Path

    def __call__(self, device: str) -> AlignOnly:
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{device} {os.getpid()}\n")
        return AlignOnly()


def test_each_process_keeps_its_device_and_its_models_over_all_shares(tmp_path: Path, gate: Gate) -> None:
    job = align_job(write_list(tmp_path, 60), tmp_path / "out", items_per_shard=4)
    summary = run_job(replace(job, devices=("a", "b"), make_work=Noting(tmp_path / "log")))
    assert summary.ok == 60
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert 1 <= len(lines) <= 2, "made once in each process, though there are sixteen shares"
    assert len({line.split()[0] for line in lines}) == len(lines)


def test_a_stream_that_is_slow_is_not_waited_for_but_for_its_first_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTED_SECONDS", 0.2)
    out, into = os.pipe()
    with os.fdopen(out) as stdin:
        os.write(into, b"c.png\n")
        photos = list_input(Path("-"), InputOptions(stdin=stdin)).photos
        assert not photos.whole
        assert len(photos.first) == 1
        os.write(into, b"d.png\nc.jpg\nc.png\n")
        os.close(into)
        found = [(Path(photo.key).name, photo.trouble is None) for photo in photos]
        assert found == [("c", True), ("d", True), ("c.jpg", True)]
        with pytest.raises(NoInputError, match="no picture"):
            list_input(Path("-"), InputOptions(stdin=stdin))


def test_of_a_large_archive_the_first_of_one_name_counts_and_each_other_has_a_key_of_its_own(
    tmp_path: Path, gate: Gate
) -> None:
    files = {f"{n}.png": photo(n) for n in range(4)} | {"./1.png": photo(8), "1.jpg": photo(9)}
    path = make_tar(tmp_path / "s.tar", files)
    summary = run_job(align_job(path, tmp_path / "out"))
    assert (summary.ok, summary.failures) == (6, {})
    assert set(read_manifest(tmp_path / "out")) == {"0", "1", "2", "3", "1.png", "1.jpg"}
    small = run_job(align_job(make_tar(tmp_path / "t.tar", {"1.png": photo(1)}), tmp_path / "small"))
    assert small.ok == 1
    assert output_files(tmp_path / "out")["1.png"] == output_files(tmp_path / "small")["1.png"]


def test_keys_in_any_order() -> None:
    names = ("a", "a.1", "b.1", "b", "d")
    photos = [Photo(key, f"/{key}.png") for key in names] + [Photo("d", "/d.jpg"), Photo("d", "/other/d.png")]
    found = [photo.key for photo in apart([*photos, *photos], Naming(faces_all=True))]
    assert found[:6] == ["a", "a.1.png", "b.1.png", "b", "d", "d.jpg"]
    assert found[6:] == ["d.png"], "and each only once"
    third = list(apart([*photos, Photo("d", "/third/d.png")], Naming()))[-1].key
    assert third.startswith("d.png~")
    assert [photo.key for photo in apart(photos, Naming())][:4] == list(names[:4])
