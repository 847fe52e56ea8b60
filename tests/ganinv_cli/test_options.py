"""Option bundles: they spread, they keep the specs' defaults, and mistakes become sentences."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ganinv_cli import options
from ganinv_cli.options import OutputOptions, command, make_spec
from pipelines import specs
from pipelines.errors import UsageError
from pipelines.evaluation import specs as evaluation_specs
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.options import Option
from pipelines.run_specs import Spec
from pipelines.specs import AlignSpec, EditSpec, InvertSpec
from pipelines.training.specs import SDICSpec, trainings


def run(kind: type[Spec], *words: str) -> Any:
    """The spec that a command gets for these words."""
    got: list[Any] = []

    def verb(spec: Spec, output: OutputOptions) -> None:
        """A command."""
        got.append((spec, output))

    verb.__annotations__["spec"] = kind
    app = typer.Typer()
    app.command()(command(verb))
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


def test_fields_spread_over_the_signature_and_come_back_as_a_spec() -> None:
    spec, output = run(
        AlignSpec, "a.jpg", "b.jpg", "--batch-size", "3", "-j", "2", "--shard", "2/8", "--no-resume", "-q"
    )
    assert spec.inputs == (Path("a.jpg"), Path("b.jpg"))
    assert (spec.batch_size, spec.num_workers, spec.shard, spec.resume) == (3, 2, (2, 8), False)
    assert (output.quiet, output.as_json) == (True, False)


@pytest.mark.parametrize("kind", [AlignSpec, InvertSpec, EditSpec, *(trainings.get(name) for name in trainings)])
def test_defaults_are_those_of_the_spec(kind: type[Spec]) -> None:
    needed = {"inputs": Path("x")} if "inputs" in kind.model_fields else {}
    needed |= {"data": ("x",)} if "data" in kind.model_fields else {}
    words = ["x"] if "inputs" in needed else []
    words += ["--data", "x"] if "data" in needed else []
    assert run(kind, *words)[0] == kind(**needed)


def test_every_field_with_an_option_can_be_given_and_others_cannot() -> None:
    for kind in (AlignSpec, InvertSpec, EditSpec, EvaluateSpec):
        described = {n for n, f in kind.model_fields.items() if any(isinstance(m, Option) for m in f.metadata)}
        assert described == set(kind.model_fields), kind
    hidden = set(SDICSpec.model_fields) - {name for name, _, _ in options._options(SDICSpec)}
    assert hidden == {"average", "view", "moves_every"}


def test_an_options_way_has_four_rooms(tmp_path: Path) -> None:
    """The field, the command that is made of it, the plan, the part: nobody else names it (a third of twenty-five is 8).

    Trainings have specs of their own, some with an option of that name.
    """
    root = Path(options.__file__).parents[1]
    rooms = [
        path.relative_to(root).as_posix()
        for folder in ("ganinv_cli", "pipelines")
        for path in (root / folder).rglob("*.py")
        if "training" not in path.parts
        and re.search(r"\bcompensate\b(?!\.|/)", re.sub(r'""".*?"""', "", path.read_text(), flags=re.S))
    ]
    assert len(rooms) <= 8, rooms


def test_names_shown_without_loading_are_those_of_the_registries() -> None:
    from pipelines.metrics.registry import metrics

    assert set(evaluation_specs.METRICS) - {"lpips", "id", "lec"} == set(metrics.names()) - {"lec"}


@pytest.mark.parametrize("words", [["", "-o", "x"], ["a", "-o", ""], ["a", "--detector", ""]])
def test_an_empty_word_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="is empty"):
        run(AlignSpec, *words)


def test_a_file_called_minus_is_not_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(AlignSpec, "./-")[0].input == tmp_path / "-"
    assert run(AlignSpec, "-")[0].input == Path("-")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"size": 1}, "--size"),
        ({"batch_size": 0}, "--batch-size"),
        ({"shard": "x"}, "'x' is not of the form I/N"),
        ({"nothing": 1}, "--nothing"),
        ({"input": ()}, "INPUT"),
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

    assert list(specs.DETECTORS) == detectors.names()
    assert options.complete_detectors("facex") == ["facexlib", "facexlib-resnet50"]
    assert options.complete_methods("") == methods.names()


def test_store_reads_the_environment_and_options_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "env"))
    monkeypatch.delenv("GANINV_OFFLINE", raising=False)
    assert options.make_store().config.home == tmp_path / "env"
    chosen = options.make_store(tmp_path / "given", offline=True)
    assert (chosen.config.home, chosen.config.offline) == (tmp_path / "given", True)


def test_a_command_keeps_name_and_help() -> None:
    from ganinv_cli.align import align

    assert align.__name__ == "align"
    assert (inspect.getdoc(align) or "").startswith("Find the faces")
