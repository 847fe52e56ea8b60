"""A command line whose verbs are fakes: everything in `ganinv_cli` runs, no model loads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pipelines
from ganinv_cli import console
from ganinv_cli.app import app
from pipelines.engine.events import ProgressEvent, RunSummary


class FakeApi(SimpleNamespace):
    """Stands for `pipelines.api`; notes the specs that it is called with, and answers with `summary` or `error`."""

    def __init__(self) -> None:
        super().__init__(specs=[], summary={"ok": 2, "total": 2}, error=None, events=[])
        for verb in ("align", "invert", "edit"):
            setattr(self, verb, self._verb(verb))

    def _verb(self, verb: str) -> Callable[..., RunSummary]:
        def run(spec: Any, store: Any, on_event: Callable[[ProgressEvent], None] | None = None) -> RunSummary:
            print("a library that prints while it loads")
            self.specs.append(spec)
            for event in self.events:
                assert on_event is not None
                on_event(event)
            if self.error is not None:
                raise self.error
            return RunSummary(verb, str(spec.output), **self.summary)

        return run

    def plan(self, spec: Any, store: Any) -> dict[str, Any]:
        self.specs.append(spec)
        return {
            "command": type(spec).__name__,
            "to_do": 3,
            "weights": [{"name": "landmarks-68", "cached": False}],
            "edits": ["smile+2"],
        }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.setitem(sys.modules, "pipelines.api", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(pipelines, "api", fake, raising=False)
    return fake


@pytest.fixture
def ganinv(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line in an empty folder, with an empty weights folder and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANINV_OFFLINE", "1")
    monkeypatch.delenv("GANINV_MIRROR", raising=False)
    monkeypatch.setattr(console, "level", console.Level())

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        assert "Traceback" not in result.output
        return result

    return run
