"""kill -9 at random moments, decoders that die or hang, full disks, clocks that jump: really done."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pipelines.engine.reading.decoder import START_SECONDS
from pipelines.engine.reading.decoder_pool import DecoderPool
from pipelines.engine.reading.reader import PhotoReader
from pipelines.engine.run import run_job
from pipelines.engine.types import Task
from pipelines.errors import OutputError, UsageError, WeightsError
from pipelines.records.manifest import MANIFEST, read_manifest
from pipelines.records.photos import Photo
from pipelines.stages.align.crops import LoadedFace
from pipelines.types import U8Image
from tests.disks import mounted
from tests.factories import FakeFaces, align_job, edit_job, make_reader, output_files, write_photos
from tests.pipelines.engine.killing import Forked, Spawned, alive, check_whole, noted, wait_until, workers_of

ITEMS = 200
TINY_DISK = 1 << 20


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("kill") / "raw", ITEMS)


@pytest.fixture(scope="module")
def whole(raw: Path) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    run_job(edit_job(raw, raw.parent / "whole"))
    return output_files(raw.parent / "whole")


def kill_during(run: Forked | Spawned, out: Path, chance: random.Random, worker: bool = False) -> bool:
    """Kills a run, or a worker of it, some items from now; False where it ended first."""
    target = min(noted(out) + chance.randrange(0, 60), ITEMS)
    wait_until(lambda: run.ended() or (noted(out) >= target and (not worker or bool(workers_of(run.pid)))))
    time.sleep(chance.random() * 0.03)
    if run.ended():
        return False
    victims = workers_of(run.pid) if worker else [run.pid]
    try:
        os.kill(chance.choice(victims), signal.SIGKILL)
    except (IndexError, ProcessLookupError):  # it has ended since it was looked at
        return False
    return True


def test_kill_9_of_the_run_five_times(tmp_path: Path, raw: Path, whole: dict[str, bytes]) -> None:
    out, chance, kills = tmp_path / "out", random.Random(1), 0
    for _ in range(5):
        run = Forked(raw, out)
        if kill_during(run, out, chance):
            assert run.wait() == -signal.SIGKILL
            kills += 1
    assert kills >= 3
    assert Forked(raw, out).wait() == 0
    check_whole(out, whole, ITEMS)


def test_kill_9_of_a_worker_and_of_the_parent_of_two(tmp_path: Path, raw: Path, whole: dict[str, bytes]) -> None:
    out, chance = tmp_path / "out", random.Random(2)
    run = Spawned(raw, out)
    assert kill_during(run, out, chance, worker=True)
    assert run.wait() == 3, run.said
    done = len([record for record in read_manifest(out).values() if record.status == "ok"])
    assert 150 < done < ITEMS, "a death costs what was in work, and nothing else"
    shutil.rmtree(out)
    run = Spawned(raw, out)
    assert kill_during(run, out, chance)
    assert run.wait() == -signal.SIGKILL
    assert Forked(raw, out).wait() == 0  # at once: it waits for the orphaned workers
    check_whole(out, whole, ITEMS)


def test_idle_workers_end_with_a_killed_parent(tmp_path: Path, raw: Path) -> None:
    """A worker that has no share in hand, too: it would keep its models, on a GPU their memory, for ever."""
    run = Spawned(raw, tmp_path / "out")
    wait_until(lambda: run.ended() or noted(tmp_path / "out") >= ITEMS // 2)
    workers = workers_of(run.pid)
    assert len(workers) == 2
    os.kill(run.pid, signal.SIGSTOP)  # it gives no more work; they come to the end of theirs
    wait_until(lambda: noted(tmp_path / "out") == ITEMS)
    time.sleep(0.5)
    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, workers)), 60)


def test_workers_that_are_only_starting_end_with_a_killed_parent(tmp_path: Path, raw: Path) -> None:
    run = Spawned(raw, tmp_path / "out")
    wait_until(lambda: run.ended() or bool(workers_of(run.pid)))
    workers = workers_of(run.pid)
    assert workers
    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, workers)), 120)


# Buys: places of a kill that a few kills do not meet; the quick tests kill a handful of times.
@pytest.mark.slow
def test_kill_9_fifty_times(tmp_path: Path, raw: Path, whole: dict[str, bytes]) -> None:
    chance, kills, turn = random.Random(3), 0, 0
    out = tmp_path / "0"
    while kills < 50:
        kind = chance.choice(["alone", "alone", "alone", "parent", "worker"])
        run: Forked | Spawned = Forked(raw, out) if kind == "alone" else Spawned(raw, out)
        kills += kill_during(run, out, chance, worker=kind == "worker")
        code = run.wait()
        assert code in (0, 3, -signal.SIGKILL)
        if code == 0:
            check_whole(out, whole, ITEMS)
            shutil.rmtree(out)
            turn += 1
            out = tmp_path / str(turn)
    assert Forked(raw, out).wait() == 0
    check_whole(out, whole, ITEMS)


@dataclass(frozen=True)
class Hanging:
    """Never ends at one photo."""

    at: str

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        while photo.key == self.at:
            time.sleep(60)
        return FakeFaces().faces(photo, picture)


def hanging_reader(at: str) -> PhotoReader:
    return PhotoReader(Hanging(at))


@dataclass
class Segfaulting:
    """Reads an address that is nobody's, as a broken decoder does."""

    at: str

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        if photo.key == self.at:
            import ctypes

            ctypes.string_at(1)
        return FakeFaces().faces(photo, picture)


def segfaulting_reader(at: str) -> PhotoReader:
    return PhotoReader(Segfaulting(at))


def tasks(raw: Path, count: int) -> list[Task]:
    paths = sorted(raw.glob("*.png"))[:count]
    return [Task(index, Photo(path.stem, str(path))) for index, path in enumerate(paths)]


def test_a_decoder_that_hangs_fails_its_photo_and_the_order_stays(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(START_SECONDS, "fork", 0.0)
    todo = tasks(raw, 6)
    stream = DecoderPool(todo, partial(hanging_reader, todo[1].photo.key), workers=2, timeout=5)
    started = time.monotonic()
    loaded = list(stream)
    stream.close()
    assert [each.index for each in loaded] == [0, 1, 2, 3, 4, 5]
    assert [each.failure.code if each.failure else "" for each in loaded] == ["", "decode-timeout", "", "", "", ""]
    assert "--timeout" in loaded[1].failure.message  # type: ignore[union-attr]
    assert time.monotonic() - started < 60


def test_a_decoder_that_segfaults_fails_its_photo(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 4)
    job = align_job(raw, tmp_path / "out", workers=1)
    object.__setattr__(job, "make_reader", partial(segfaulting_reader, "p01"))
    summary = run_job(job)
    assert (summary.ok, summary.failures, summary.exit_code) == (3, {"decode-crashed": 1}, 3)
    error = read_manifest(tmp_path / "out")["p01"].error
    assert error is not None
    assert "SIGSEGV" in error.message


@dataclass(frozen=True)
class HangingOnce:
    """Does not end at one photo where it is the first to come to it."""

    at: str
    mark: Path

    def faces(self, photo: Photo, picture: U8Image) -> list[LoadedFace]:
        if photo.key == self.at and not self.mark.exists():
            self.mark.touch()
            time.sleep(600)
        return FakeFaces().faces(photo, picture)


def test_a_decoder_that_somebody_kills_costs_nothing(raw: Path, tmp_path: Path) -> None:
    todo, mark = tasks(raw, 4), tmp_path / "in work"
    stream = DecoderPool(todo, partial(PhotoReader, HangingOnce(todo[1].photo.key, mark)), workers=1)
    wait_until(mark.exists)
    os.kill(stream._decoders[0]._process.pid, signal.SIGKILL)
    loaded = list(stream)
    stream.close()
    assert [each.index for each in loaded] == [0, 1, 2, 3]
    assert all(each.failure is None for each in loaded)
    assert len(stream.notes) == 1


def broken_reader() -> PhotoReader:
    raise WeightsError("landmarks-68 is missing")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reader_that_cannot_be_built_says_why(raw: Path, workers: int) -> None:
    stream = DecoderPool(tasks(raw, 3), broken_reader, workers)
    with pytest.raises(WeightsError, match="landmarks-68"):
        list(stream)
    stream.close()


def test_a_stream_is_closed_while_its_decoder_hangs(raw: Path) -> None:
    stream = DecoderPool(tasks(raw, 3), partial(hanging_reader, tasks(raw, 1)[0].photo.key), workers=1, timeout=600)
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 40  # the reader hangs for 60 s
    assert not stream._thread.is_alive()


def test_tasks_are_taken_only_as_there_is_room(raw: Path) -> None:
    taken: list[int] = []

    def lazily() -> Iterator[Task]:
        for task in tasks(raw, 60):
            taken.append(task.index)
            yield task

    stream = DecoderPool(lazily(), partial(make_reader, FakeFaces()), workers=2)
    next(iter(stream))
    time.sleep(0.5)
    assert len(taken) < 15
    assert len(list(stream)) == 59
    stream.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with mounted(tmp_path / "disk", TINY_DISK) as made:
        if not made:
            pytest.skip("a small file system cannot be mounted here")
        yield tmp_path / "disk"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_is_really_full(tiny_disk: Path, raw: Path, whole: dict[str, bytes], processes: int) -> None:
    job = edit_job(raw, tiny_disk / "out")
    object.__setattr__(job, "devices", ("cpu",) * processes)
    with pytest.raises(OutputError, match=r"(?i)full|no space") as caught:
        run_job(job)
    assert caught.value.exit_code == 3
    done = [record for record in read_manifest(tiny_disk / "out").values() if record.status == "ok"]
    assert 0 < len(done) < ITEMS
    for record in done:
        for path in record.outputs.values():
            assert (tiny_disk / "out" / path).is_file()
    assert os.system(f"mount -o remount,size={64 * TINY_DISK} '{tiny_disk}'") == 0
    summary = run_job(edit_job(raw, tiny_disk / "out"))
    assert summary.ok + summary.skipped == ITEMS
    check_whole(tiny_disk / "out", whole, ITEMS)


def test_a_damaged_line_of_the_manifest_costs_its_item(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 6), tmp_path / "out"
    run_job(edit_job(raw, out))
    expected = output_files(out)
    for damage in (b"garbage", b"[" * 100_000, b'{"v":1,"key":"p03","source":"/x.png","digest":"","status":"ok"}'):
        lines = (out / MANIFEST).read_bytes().split(b"\n")
        lines[2] = damage
        (out / MANIFEST).write_bytes(b"\n".join(lines))
        summary = run_job(edit_job(raw, out))
        assert (summary.ok, summary.skipped, summary.exit_code) == (1, 5, 0)
        assert any("damaged" in warning for warning in summary.warnings)
        assert len(read_manifest(out)) == 6
    assert output_files(out) == expected
    (out / MANIFEST).write_bytes(b"a log\n" * 3)
    with pytest.raises(UsageError, match="move the file away"):
        run_job(edit_job(raw, out))


def test_a_clock_that_jumps_decides_nothing(
    tmp_path: Path, raw: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = random.Random(5)
    monkeypatch.setattr(time, "time", lambda: clock.uniform(0, 4e9))
    summary = run_job(edit_job(raw, tmp_path / "out"))
    assert 0 <= summary.seconds < 300
    assert run_job(edit_job(raw, tmp_path / "out")).skipped == ITEMS
    assert output_files(tmp_path / "out") == whole
