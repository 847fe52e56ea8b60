"""Helpers of the tests that kill real processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.engine.run import run_job
from pipelines.records.manifest import MANIFEST, PARTS, part_files
from tests.factories import FakeChain, FakeFaces, edit_job, output_files

ROOT = Path(__file__).resolve().parents[3]
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Forked:
    """A run in a fork of this process (its decoder a fork of that), which starts at once."""

    def __init__(self, raw: Path, out: Path) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=(raw, out))
        self._process.start()
        self.pid = self._process.pid or 0

    def ended(self) -> bool:
        return not self._process.is_alive()

    def wait(self) -> int:
        self._process.join(240)
        assert self._process.exitcode is not None, "the run hangs"
        return self._process.exitcode


def _run(raw: Path, out: Path) -> None:
    torch.set_num_threads(1)  # a fork has lost torch's threads
    job = edit_job(raw, out, chain=FakeChain(pause=0.01), fake=FakeFaces(), workers=1)
    os._exit(run_job(job).exit_code)


class Spawned:
    """A run over two processes, or over a cluster's."""

    def __init__(self, raw: Path, out: Path, where: str = "2") -> None:
        script = str(Path(__file__).with_name("run_spread.py"))
        command = [sys.executable, script, str(raw), str(out), where]
        self._process = subprocess.Popen(
            command, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.said = ""

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        out, err = self._process.communicate(timeout=300)
        self.said = out + err
        return self._process.returncode


def workers_of(pid: int) -> list[int]:
    """The processes that joblib started for a run."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(path).split():
            found += [int(child)] if b"popen_loky" in _read(Path(f"/proc/{int(child)}/cmdline")) else []
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process still runs: one that has ended and that nobody has asked for yet (a container's first process may
    never ask) does not.
    """
    state = _read(Path(f"/proc/{pid}/stat"))
    return bool(state) and b") Z " not in state


def deaf(pid: int, number: int) -> bool:
    """Whether a process ignores that signal."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(b"SigIgn:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _read(path: Path) -> bytes:
    """What a file of a process says; nothing if the process or thread has just ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def noted(out: Path) -> int:
    """How many lines the manifest and its parts have."""
    paths = [out / MANIFEST, *part_files(out)]
    count = 0
    for path in paths:
        try:
            count += path.read_bytes().count(b"\n")
        except FileNotFoundError:
            continue
    return count


def wait_until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def check_whole(out: Path, expected: dict[str, bytes], items: int) -> None:
    """Nothing half-written is left, every item is there once, and all bytes are those of an undisturbed run."""
    left = [path for path in out.rglob("*") if path.suffix in (".part", ".taken", ".stop") or path.name == PARTS]
    assert not left, left
    lines = (out / MANIFEST).read_text().splitlines()
    keys = {line.partition('"key":"')[2].partition('"')[0] for line in lines}
    assert len(lines) == len(keys) == items
    assert output_files(out) == expected
