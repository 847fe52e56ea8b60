"""The command line with inputs and outputs that are no folders; the detector is a fake, all else is real."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ganinv_cli.app import app
from pipelines.stages.align.detectors import Detector, detectors
from pipelines.storage.remote import find_files
from tests.factories import write_photos
from tests.fuzz.test_corpus import OneFace


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(detectors._entries, "dlib", Detector((), "fake", lambda store, largest: OneFace()))
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANINV_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "raw", 5)


def align(*words: str) -> Result:
    return CliRunner().invoke(app, ["align", *words, "--size", "32", "-j", "0", "--json"])


def test_archives_in_and_out(tmp_path: Path) -> None:
    result = align("raw", "--output", "out-{000..}.tar", "--items-per-shard", "2")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["output"] == "out-{000..}.tar"
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["out-000.tar", "out-001.tar", "out-002.tar"]
    back = align("out-{000..002}.tar", "-o", "back")
    assert json.loads(back.stdout)["ok"] == 5
    assert (tmp_path / "back" / "out-000" / "p00.png").is_file()
    plan = align("raw", "--output", "out-{000..}.tar", "--dry-run")
    assert (json.loads(plan.stdout)["done"], json.loads(plan.stdout)["to_do"]) == (5, 0)
    with tarfile.open(tmp_path / "out-000.tar") as archive:
        assert archive.getnames() == ["p00.json", "p00.png", "p01.json", "p01.png"]


def test_a_store_in_and_out() -> None:
    pytest.importorskip("fsspec")
    assert align("raw", "-o", "memory://cli/faces").exit_code == 0
    assert {"p00.png", "sub/p02.png", "manifest.jsonl", "run.json"} <= set(find_files("memory://cli/faces"))
    assert json.loads(align("memory://cli/faces", "-o", "again").stdout)["ok"] == 5


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(b"")
    for words, sentence in (
        (("x.tgz",), "archive"),
        (("nosuch://x",), "nosuch"),
        (("none-{0..3}.tar",), "none-0.tar"),
        (("raw", "-o", "o-{1..5}.tar"), "as many archives"),
        (("raw", "-o", "https://host/x"), "web server"),
    ):
        result = align(*words)
        assert result.exit_code == 2, result.output
        assert sentence in result.stderr
        assert "bug" not in result.stderr
