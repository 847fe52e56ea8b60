"""A real dask scheduler and two real workers on loopback, each a process; one of them is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.events import ProgressEvent
from pipelines.engine.run import run_job
from pipelines.errors import ClusterError, UsageError
from pipelines.records.manifest import read_manifest
from tests.factories import FakeChain, edit_job, output_files, write_photos
from tests.pipelines.engine.input.test_streaming import COUNT, Gate, gate, hold_lines, write_list
from tests.pipelines.engine.killing import ENVIRON, Forked, Spawned, check_whole, noted, wait_until

__all__ = ["gate"]  # a fixture

ITEMS = 60


class Cluster:
    """A scheduler and two workers without nannies, so that a killed one stays away."""

    def __init__(self, folder: Path) -> None:
        self._log = open(folder / "log", "w")  # noqa: SIM115 (open as long as the cluster)
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(folder / "scheduler.json"),
        )  # fmt: skip
        self.address = self._listening(folder / "scheduler.json")
        self.workers = [self.add(folder) for _ in range(2)]

    def _listening(self, told: Path) -> str:
        """Where the scheduler listens: it chose a free port itself, so that nobody can take it meanwhile."""
        wait_until(lambda: told.exists() and told.read_text().rstrip().endswith("}"), 120)
        return str(json.loads(told.read_text())["address"])

    def add(self, folder: Path) -> subprocess.Popen[bytes]:
        options = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(folder)]
        return self._start("distributed.cli.dask_worker", self.address, *options)

    def _start(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *options]
        return subprocess.Popen(command, env=ENVIRON, stdout=self._log, stderr=self._log)

    def wait(self) -> None:
        from distributed import Client

        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="ganinv[cluster] is not installed")
    made = Cluster(tmp_path)
    try:
        made.wait()
        yield made
    finally:
        made.close()


def test_a_cluster_writes_the_bytes_of_one_process(tmp_path: Path, cluster: Cluster) -> None:
    raw = write_photos(tmp_path / "raw", 9)
    (raw / "bad.png").write_bytes(b"")
    run_job(edit_job(raw, tmp_path / "one"))
    run = Spawned(raw, tmp_path / "two", cluster.address)
    assert run.wait() == 3, run.said
    assert run.said.startswith("9 0 1 True"), run.said
    assert output_files(tmp_path / "two") == output_files(tmp_path / "one")
    assert not (tmp_path / "two" / "manifest.d").exists()


def test_a_cluster_works_while_the_input_is_listed(
    tmp_path: Path, cluster: Cluster, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_list(tmp_path)
    hold_lines(monkeypatch, gate)
    summary = run_job(edit_job(paths, tmp_path / "out", backend="dask", scheduler=cluster.address))
    assert gate.waited == [True], "nothing was on disk when the list was held up"
    assert (summary.ok, summary.failed, summary.total) == (COUNT, 0, COUNT)
    run_job(edit_job(tmp_path / "raw", tmp_path / "one"))
    assert output_files(tmp_path / "out") == output_files(tmp_path / "one")


def test_kill_9_of_a_cluster_worker_then_of_the_parent(tmp_path: Path, cluster: Cluster) -> None:
    raw, out, chance = write_photos(tmp_path / "raw", ITEMS), tmp_path / "out", random.Random(4)
    run_job(edit_job(raw, tmp_path / "one"))
    whole = output_files(tmp_path / "one")
    run = Spawned(raw, out, cluster.address)
    wait_until(lambda: run.ended() or noted(out) >= 10)
    time.sleep(chance.random() * 0.1)
    os.kill(cluster.workers[0].pid, signal.SIGKILL)
    # 3: items were in its hands; 0: it died between two of them, and the other worker took the rest.
    assert run.wait() in (0, 3), run.said
    done = [record for record in read_manifest(out).values() if record.status == "ok"]
    assert len(done) >= ITEMS - 12  # what it had in work is lost, which may be nothing
    assert Forked(raw, out).wait() == 0
    check_whole(out, whole, ITEMS)
    shutil.rmtree(out)
    run = Spawned(raw, out, cluster.address)
    wait_until(lambda: run.ended() or noted(out) >= 10)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert Forked(raw, out).wait() == 0  # at once: it waits until the cluster's workers have let go
    check_whole(out, whole, ITEMS)


def test_a_scheduler_that_goes_away_ends_the_run_with_a_sentence(
    tmp_path: Path, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    raw, out = write_photos(tmp_path / "raw", ITEMS), tmp_path / "out"
    run_job(edit_job(raw, tmp_path / "one"))
    done: list[str] = []

    def count(event: ProgressEvent) -> None:
        done.append(event.item)
        if len(done) == 6:
            cluster.scheduler.kill()

    with pytest.raises(ClusterError, match="the dask scheduler went away; what is finished is kept"):
        run_job(edit_job(raw, out, chain=FakeChain(pause=0.1), backend="dask", scheduler=cluster.address), count)
    assert "Traceback" not in capfd.readouterr().err
    assert any(record.status == "ok" for record in read_manifest(out).values())
    assert Forked(raw, out).wait() == 0  # at once: it waits until the cluster's workers have let go
    check_whole(out, output_files(tmp_path / "one"), ITEMS)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="ganinv[cluster] is not installed")
    monkeypatch.setattr("pipelines.engine.spread.backends.CONNECT_SECONDS", 1)
    with socket.socket() as silent:  # has a port of its own, and does not listen
        silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        job = edit_job(write_photos(tmp_path / "raw", 1), tmp_path / "out", backend="dask", scheduler=address)
        with pytest.raises(UsageError, match=address):
            run_job(job)


def test_without_dask_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    job = edit_job(write_photos(tmp_path / "raw", 1), tmp_path / "out", backend="dask", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"ganinv\[cluster\]"):
        run_job(job)
