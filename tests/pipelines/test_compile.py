"""`--compile` hands the generator's pass to torch.compile, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.registry import Entry
from pipelines.stages import build
from pipelines.stages.build import ChainPlan, build_chain
from pipelines.stages.entry import GeneratorEntry
from pipelines.stages.methods import methods
from tests.tiny import tiny_generator


@pytest.mark.parametrize("wanted", [False, True])
def test_the_pass_is_compiled_only_when_asked(wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled: list[Any] = []

    def compile_it(run: Any) -> Any:
        compiled.append(run)
        return run

    generator = tiny_generator()
    monkeypatch.setattr(torch, "compile", compile_it)
    monkeypatch.setattr(build, "generator_entry", lambda name, store: GeneratorEntry(lambda parts: generator))
    monkeypatch.setattr(build, "embedder_entry", lambda *given: Entry(lambda parts, made: object()))
    plan = ChainPlan(methods.get("e4e")._replace(compose="none"), compile=wanted)
    made = build_chain(plan, None, torch.device("cpu"))  # type: ignore[arg-type]
    assert len(compiled) == wanted
    assert made.generator is generator
