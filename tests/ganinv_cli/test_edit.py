"""`ganinv edit`: the attribute syntax on the command line, and the list of attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganinv_cli import options


def test_the_line_of_the_readme(ganinv: Any, api: Any) -> None:
    assert ganinv("edit", "--attr", "smile=+2", "./faces").exit_code == 0
    [spec] = api.specs
    assert (spec.input, spec.output) == (Path("faces"), Path("edits"))
    assert [edit.terms for edit in spec.edits] == [(("smile", 2.0),)]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["smile=-1.5"], ["smile-1.5"]),
        (["smile=+2,age=-1"], ["smile+2,age-1"]),
        (["smile=-2:2:1"], ["smile-2", "smile-1", "smile+0", "smile+1", "smile+2"]),
        (["smile=2", "age=-1"], ["smile+2", "age-1"]),
    ],
)
def test_attribute_syntax(ganinv: Any, api: Any, texts: list[str], names: list[str]) -> None:
    words = [word for text in texts for word in ("--attr", text)]
    assert ganinv("edit", *words).exit_code == 0
    assert [edit.name for edit in api.specs[0].edits] == names


def test_other_options_reach_the_spec(ganinv: Any, api: Any) -> None:
    words = "edit raw --align --attr smile=1 --paste --latents l --direction a.npy --direction b.npy --method optimize"
    words += " --compose none --masks --plugin own.py --follow-links"
    assert ganinv(*words.split()).exit_code == 0
    [spec] = api.specs
    assert (spec.align, spec.paste, spec.latents) == (True, True, Path("l"))
    assert (spec.compose, spec.masks, spec.plugins, spec.follow_links) == ("none", True, ("own.py",), True)
    assert spec.direction_files == (Path("a.npy"), Path("b.npy"))


CARD = {
    "directions": {
        "smile": {
            "description": "mouth corners up", "layers": [3, 7], "std": 0.04, "range": [-3, 3],
            "leakage": {"age": -0.4, "yaw": 0.02},
        },
        "age": {"description": "older", "layers": [0, 9], "std": 8.5, "range": [-2, 3], "leakage": {}},
    }
}  # fmt: skip


def test_list_attrs(ganinv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.weights.assets.card", lambda name: CARD)
    result = ganinv("edit", "--list-attrs")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("smile"))
    for part in ("mouth corners up", "-3 to +3", "age -0.40"):
        assert part in line
    assert "yaw" not in line
    known = json.loads(ganinv("edit", "--list-attrs", "--json").stdout)["attributes"]
    assert [(each["name"], each["range"]) for each in known] == [("smile", [-3.0, 3.0]), ("age", [-2.0, 3.0])]


def test_reference_portraits_are_edits_too(ganinv: Any, api: Any) -> None:
    assert ganinv("edit", "faces", "--like", "REF.jpg=smile,yaw", "--like", "more.csv").exit_code == 0
    assert api.specs[0].like == ("REF.jpg=smile,yaw", "more.csv")
    nothing = ganinv("edit", "faces")
    assert (nothing.exit_code, "--attr smile=+2" in nothing.stderr) == (2, True)


def test_amounts_on_the_command_line(ganinv: Any, api: Any) -> None:
    assert ganinv("edit", "--attr", "age=+10y", "--attr", "yaw:=0").exit_code == 0
    assert [edit.name for edit in api.specs[0].edits] == ["age+10y", "yaw=0deg"]
    wrong = ganinv("edit", "--attr", "smile=+2y")
    assert wrong.exit_code == 2
    assert "smile is not counted in y" in wrong.stderr


def test_a_chart_is_drawn_instead_of_a_run(
    ganinv: Any, api: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = []

    def write(spec: Any, photo: Path, store: Any) -> Path:
        drawn.append((spec.output, photo))
        return spec.output / "chart-me.jpg"

    monkeypatch.setattr("pipelines.evaluation.chart.write_chart", write)
    result = ganinv("edit", "--chart", "me.png", "-o", str(tmp_path), "--json")
    assert (result.exit_code, drawn, api.specs) == (0, [(tmp_path, Path("me.png"))], [])
    assert json.loads(result.stdout) == {"chart": str(tmp_path / "chart-me.jpg")}


def test_completion_of_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / options.DIRECTIONS_CARD).write_text(json.dumps(CARD), encoding="utf-8")
    monkeypatch.setattr(options.resources, "files", lambda package: tmp_path)
    assert options.complete_attributes("sm") == ["smile="]
    assert options.complete_attributes("smile=2,a") == ["smile=2,age="]
    assert options.complete_attributes("x") == []
