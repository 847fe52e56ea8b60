"""What is printed, where, and how it looks off a terminal and on one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ganinv_cli import console
from pipelines.engine.events import ProgressEvent
from pipelines.weights.catalogue import WeightEntry
from pipelines.weights.download import FetchEvent

ENTRY = WeightEntry(
    name="net", role="detector", arch="a", format="pth", filename="net.pth", sources=["https://example.org/net.pth"],
    sha256="", bytes=2_000_000, licence="CC BY-NC 4.0", noncommercial=True, origin="someone",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(console, "level", console.Level())
    yield
    console.close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True, width=100))
    return screen


def test_shown_escapes_what_could_rule_a_terminal() -> None:
    assert console.shown("a\x1b[2J\n\u202eb\udcff 😀") == "a\\x1b[2J\\n\\u202eb\\udcff 😀"


def test_json_is_valid_even_with_nan_paths_and_broken_names(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": float("nan"), "b": (Path("x"), float("inf")), 3: "\udcff\n", "c": True, "d": None})
    made = json.loads(capsys.readouterr().out)
    assert made == {"a": None, "b": ["x", None], "3": "\udcff\n", "c": True, "d": None}


def test_table_off_a_terminal_is_plain_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["name", "n"], [["x" * 300, 1], ["y\n", 0.123456789], ["[bold]", None]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "  1"
    assert lines[2].split() == ["y\\n", "0.1235"]
    assert lines[3].split() == ["[bold]", "-"]


def test_table_on_a_terminal_takes_markup_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=screen, force_terminal=True, width=60, no_color=True))
    console.table(["name"], [["[red]face[/red]"]])
    assert "[red]face[/red]" in screen.getvalue()


def test_first_fetch_shows_size_and_licence_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = console.fetch_reporter()
    for kind, message in (("licence", ""), ("start", "from example.org"), ("progress", ""), ("done", "")):
        report(FetchEvent(kind, ENTRY, 1, 2, message))  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines == ["net: 2.0 MB, licence: CC BY-NC 4.0 [non-commercial]", "fetching net from example.org"]


def test_quiet_says_nothing_of_downloads(capsys: pytest.CaptureFixture[str]) -> None:
    console.level.quiet = True
    report = console.fetch_reporter()
    report(FetchEvent("licence", ENTRY))
    report(FetchEvent("start", ENTRY, message="from x"))
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal(terminal: io.StringIO) -> None:
    fetch, run = console.fetch_reporter(), console.run_reporter("align")
    fetch(FetchEvent("start", ENTRY, 0, 2_000_000, "from x"))
    fetch(FetchEvent("progress", ENTRY, 1_000_000, 2_000_000))
    run(ProgressEvent("start", 0, 0, 0, 5))
    run(ProgressEvent("item", 0, 1, 0, 5, "a", "broken"))
    fetch(FetchEvent("done", ENTRY))
    run(ProgressEvent("item", 4, 1, 0, 5, "b"))
    run(ProgressEvent("end", 4, 1, 0, 5))
    console.close()
    drawn = terminal.getvalue()
    assert "align" in drawn
    assert "failed: a: broken" in drawn
    assert "5/5" in drawn


def test_off_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    report = console.run_reporter("invert")
    for done in range(1, 7):
        now[0] += 10.0
        report(ProgressEvent("item", done, 0, 2, 20, f"a{done}"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "invert: 5 of 20 (3 done, 0 failed, 2 done before)",
        "invert: 8 of 20 (6 done, 0 failed, 2 done before)",
    ]


SCRIPT = """
import os, subprocess, sys
from ganinv_cli import console
with console.clean_stdout():
    print("python prints")
    os.write(1, b"C prints\\n")
    subprocess.run([sys.executable, "-c", "print('a child prints')"])
console.print_json({"a": 1})
"""


def test_stdout_carries_only_the_result_whoever_prints() -> None:
    root = Path(__file__).resolve().parents[2]
    environ = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"a": 1}
    for line in ("python prints", "C prints", "a child prints"):
        assert line in done.stderr


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True))
    console.say("error: wrong", "red")
    assert "\x1b[31m" not in screen.getvalue()
    assert "error: wrong" in screen.getvalue()


@pytest.mark.parametrize(("verb", "papers"), [("align", "manifest.jsonl"), ("evaluate", "metrics.json")])
def test_the_place_of_all_failures_is_the_commands_own(
    capsys: pytest.CaptureFixture[str], verb: str, papers: str
) -> None:
    report = console.run_reporter(verb)
    for number in range(console.FAILURES_SHOWN + 2):
        report(ProgressEvent("item", 0, number + 1, 0, 99, f"{number}", "no face was found"))
    [line] = [line for line in capsys.readouterr().err.splitlines() if "more items fail" in line]
    assert papers in line
