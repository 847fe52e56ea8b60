"""`--compile` hands the generator's pass to torch.compile, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.specs import InvertSpec
from pipelines.stages import chain
from pipelines.stages.build import GeneratorPart
from pipelines.stages.chain import build_chain
from tests.tiny import tiny_generator


@pytest.mark.parametrize("wanted", [False, True])
def test_the_pass_is_compiled_only_when_asked(wanted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled: list[Any] = []

    def compile_it(run: Any) -> Any:
        compiled.append(run)
        return run

    generator = tiny_generator()
    monkeypatch.setattr(torch, "compile", compile_it)
    monkeypatch.setattr(chain, "generator_part", lambda name, store: GeneratorPart(lambda parts: generator))
    monkeypatch.setattr(chain, "plan_chain", lambda spec, store: chain.ChainPlan((), "", ""))
    monkeypatch.setattr(chain, "_embedder", lambda spec, store, rows: GeneratorPart(lambda parts, made: Embedder()))
    spec = InvertSpec(input=tmp_path, output=tmp_path / "out", method="e4e", compile=wanted)
    made = build_chain(spec, None, torch.device("cpu"))  # type: ignore[arg-type]
    assert len(compiled) == wanted
    assert made.generator is generator


class Embedder:
    name, version = "none", "1"
