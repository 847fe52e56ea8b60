"""Real processes, really killed: what is finished stays, the rest is done once more, nothing half-written remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.manifest import read_manifest
from pipelines.records.run_lock import exclusive_run
from tests.factories import edit_job, output_files, write_photos

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("run_in_process.py")


def start(raw: Path, out: Path, log: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(raw), str(out), str(log)]
    return subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs deaf to Ctrl-C, and children inherit that: the test must not depend on it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_records(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(read_manifest(out)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(out: Path) -> set[str]:
    return {key for key, record in read_manifest(out).items() if record.status == "ok"}


def logged(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_kill_9_at_several_moments_then_resume(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 20), tmp_path / "out"
    for kill, records in enumerate((0, 3, 10)):
        done, log = finished(out), tmp_path / f"log{kill}"
        process = start(raw, out, log)
        if records:
            wait_for_records(process, out, records)
        else:
            while not (out / "latents").exists():  # the first files are on their way, no record is
                assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not done & set(logged(log)), "a finished face was inverted again"
        assert done <= finished(out), "a finished face was lost"
    done, log = finished(out), tmp_path / "log-last"
    assert 10 <= len(done) < 20
    process = start(raw, out, log)  # at once: orphaned decoders of the killed run must not hold the folder
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout.split()) == (0, [str(20 - len(done)), str(len(done)), "0"]), stderr
    assert not done & set(logged(log))
    assert len(logged(log)) == len(set(logged(log)))
    assert not list(out.rglob("*.part"))
    assert not (out / "manifest.d").exists()
    assert (out / "manifest.jsonl").read_text().count("\n") == 20
    run_job(edit_job(raw, tmp_path / "whole", ["smile=-1:1:1"]))
    assert output_files(out) == output_files(tmp_path / "whole")


def test_ctrl_c_flushes_and_a_second_run_is_refused_meanwhile(tmp_path: Path) -> None:
    raw, out, log = write_photos(tmp_path / "raw", 20), tmp_path / "out", tmp_path / "log"
    process = start(raw, out, log)
    wait_for_records(process, out, 2)
    with pytest.raises(UsageError, match="another run works"), exclusive_run(out):
        pytest.fail("two runs in one folder")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    done = finished(out)
    assert 2 <= len(done) < 20
    assert {f"inversion/{key}.png" for key in done} <= set(output_files(out))
    assert not list(out.rglob("*.part"))
    summary = run_job(edit_job(raw, out, ["smile=-1:1:1"]))
    assert (summary.ok, summary.skipped) == (20 - len(done), len(done))
