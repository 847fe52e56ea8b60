"""Option bundles: they spread, they keep the specs' defaults, and mistakes become sentences."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ganinv_cli import options
from ganinv_cli.options import Cropping, Inverting, Machine, Pace, bundled, make_spec, values
from pipelines.errors import UsageError
from pipelines.specs import AlignSpec, InvertSpec


def test_bundles_spread_over_the_signature_and_come_back_whole() -> None:
    got: list[Any] = []

    def command(machine: Machine, name: str = "x") -> None:
        """A command."""
        got.append((machine, name))

    app = typer.Typer()
    app.command()(bundled(command))
    assert CliRunner().invoke(app, ["--batch-size", "3", "-j", "2", "--name", "y"]).exit_code == 0
    assert got == [(Machine(batch_size=3, num_workers=2), "y")]


@pytest.mark.parametrize(("bundle", "spec"), [(Cropping, AlignSpec), (Inverting, InvertSpec), (Pace, AlignSpec)])
def test_defaults_are_those_of_the_spec(bundle: type[Any], spec: type[AlignSpec]) -> None:
    for each in fields(bundle):
        if each.name in spec.model_fields:
            assert each.default == spec.model_fields[each.name].default, each.name


def test_every_spec_option_can_be_given() -> None:
    given = {each.name for bundle in (Cropping, Inverting, Pace, Machine) for each in fields(bundle)}
    assert set(InvertSpec.model_fields) - given == {"input", "output"}


def test_values_leave_out_what_nobody_gave() -> None:
    assert values(Machine(batch_size=2)) == {"device": "auto", "batch_size": 2}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"size": 1}, "--size"),
        ({"batch_size": 0}, "--batch-size"),
        ({"shard": "x"}, "'x' is not of the form I/N"),
        ({"nothing": 1}, "--nothing"),
        ({"size": 1, "limit": 0}, "; --size"),
    ],
)
def test_spec_mistakes_are_one_sentence(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_spec(AlignSpec, {"input": Path("a"), "output": Path("b")} | wrong)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_detectors_and_methods_complete() -> None:
    from pipelines.stages.align.detectors import detectors
    from pipelines.stages.methods import methods

    assert list(options.DETECTORS) == detectors.names()
    assert options.complete_detectors("facex") == ["facexlib", "facexlib-resnet50"]
    assert options.complete_methods("") == methods.names()


def test_store_reads_the_environment_and_options_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "env"))
    monkeypatch.delenv("GANINV_OFFLINE", raising=False)
    assert options.make_store().config.home == tmp_path / "env"
    chosen = options.make_store(tmp_path / "given", offline=True)
    assert (chosen.config.home, chosen.config.offline) == (tmp_path / "given", True)


def test_bundled_keeps_name_and_help() -> None:
    from ganinv_cli.align import align

    assert align.__name__ == "align"
    assert (inspect.getdoc(align) or "").startswith("Find the faces")
