"""Streams that are closed or full, signals: what services and shells do to a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganinv_cli import process

ROOT = Path(__file__).resolve().parents[2]
GANINV = f"'{sys.executable}' -m ganinv_cli"
LIST = f"{GANINV} edit --list-attrs"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "GANINV_OFFLINE": "1", "GANINV_HOME": str(cwd / "home")}
    return subprocess.run(["bash", "-c", line], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_done_without(tmp_path: Path, closed: str) -> None:
    (tmp_path / "raw").mkdir()
    done = shell(f"{GANINV} align raw --dry-run {closed}", tmp_path)
    assert done.returncode == 4
    assert "bug" not in done.stderr


def test_sentences_stay_out_of_the_json(tmp_path: Path) -> None:
    done = shell(f"{GANINV} edit --list-attrs --json 2>&-", tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["attributes"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["edit --list-attrs --json", "edit --list-attrs", "--version", "--help"])
def test_a_stdout_that_takes_nothing_is_one_sentence(tmp_path: Path, words: str) -> None:
    done = shell(f"{GANINV} {words} > /dev/full", tmp_path)
    assert done.returncode == 7
    assert [line for line in done.stderr.splitlines() if line.startswith("error: the result cannot be printed")]
    assert "bug" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "edit --list-attrs"])
def test_a_reader_that_leaves_early_is_141_as_elsewhere(tmp_path: Path, words: str) -> None:
    done = shell(f"{GANINV} {words} | (exec <&-; sleep 0); echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stdout.split() == ["141"]
    assert done.stderr == ""


SLOW = """
import signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from ganinv_cli import app, process
import pipelines
fake = types.ModuleType("pipelines.api")
def align(spec, store, on_event=None):
    try:
        print("started", file=sys.stderr, flush=True)
        while True:
            time.sleep(0.05)
    finally:
        print("flushed", file=sys.stderr, flush=True)
        {after}
fake.align = align
sys.modules["pipelines.api"] = pipelines.api = fake
sys.argv = ["ganinv", "align", "raw"]
app.main()
"""


LOADING = """
import os, signal, sys, types
from ganinv_cli import __main__, process
signal.signal(signal.SIGHUP, signal.SIG_DFL)
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            try:
                os.kill(os.getpid(), signal.{signal})
            except KeyboardInterrupt:
                print("an exception in the middle of an import", file=sys.stderr)
sys.meta_path.insert(0, Slow())
sys.argv = ["ganinv", "align", "raw"]
__main__.main()
"""


@pytest.mark.parametrize("module", ["typer", "pipelines.api"])
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_libraries_load_ends_it_there_with_a_sentence(
    tmp_path: Path, module: str, name: str, code: int
) -> None:
    line = [sys.executable, "-c", LOADING.format(module=module, signal=name)]
    done = subprocess.run(
        line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (code, "interrupted before anything began\n")


def stopped(tmp_path: Path, *signals: int, after: str = "pass") -> tuple[int, str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "GANINV_OFFLINE": "1", "GANINV_HOME": str(tmp_path / "home")}
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(after=after)], cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    said = run.stderr.readline()
    run.send_signal(signals[0])
    for number in signals[1:]:
        said += run.stderr.readline()  # the first was heard: two that wait together are one
        run.send_signal(number)
    said += run.stderr.read()
    return run.wait(60), said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_run_cleanly_with_one_sentence(tmp_path: Path, number: int, code: int) -> None:
    ended, said = stopped(tmp_path, number)
    assert ended == code
    assert said.splitlines()[:2] == ["started", "flushed"]
    assert said.splitlines()[2].startswith("interrupted")
    assert len(said.splitlines()) == 3


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    ended, said = stopped(tmp_path, signal.SIGTERM, signal.SIGTERM, after="time.sleep(300)")
    assert ended == -signal.SIGTERM
    assert "interrupted" not in said
    assert time.monotonic() - started < 120


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        process.catch_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        with pytest.raises(process.Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert caught.value.exit_code == 143
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
