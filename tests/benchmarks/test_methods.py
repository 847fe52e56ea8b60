"""The comparison of methods: which faces, and tables from the figures that runs left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks._methods_table import END, START, write_tables
from benchmarks.methods import chosen_faces, is_fitted
from pipelines.edits import parse_edits
from pipelines.records.manifest import ManifestWriter, Record

EDITS = parse_edits(["smile=+2", "age=+1"])


def _run(folder: Path, keys: list[str], value: float) -> None:
    writer = ManifestWriter(folder)
    for number, key in enumerate(keys):
        writer.append(Record(key, f"{key}.png", ms={"invert": 1000.0 * (number + 1), "edit": 500.0}))
    writer.close()
    figure: dict[str, Any] = {"mse": value, "lpips-st-alex": value, "id-dlib": value, "same-person": 1.0}
    figure |= {"detail": value, "mse-outside": value}
    asked = {"moved": value, "passengers": 2 * value}
    images = {key: {"inversion": figure, **{e.name: figure | asked for e in EDITS}} for key in keys}
    images[keys[0]]["age+1"] = figure | {"moved": None, "passengers": 2 * value}  # no face was found
    names = {name: {"better": "lower"} for name in (*figure, *asked)}
    body = {"count": len(keys), "metrics": names, "edits": {}, "images": images, "failures": []}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(body))


def _tables(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    for method, count in (("photo", 4), ("pti", 2)):
        for way, value in (("composed", 0.25), ("plain", 0.5)):
            _run(tmp_path / method / way, ["a", "c", "b", "d"][:count], value)
    document = tmp_path / "methods.md"
    document.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_tables(document, tmp_path, ["photo", "pti"], EDITS, "One machine.")
    return document.read_text(), json.loads(document.with_suffix(".json").read_text())


def test_methods_that_fit_each_photo_get_fewer_faces(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / "run.json").touch()
    assert [name for name in ("photo", "sdic", "feature", "optimize", "pti") if is_fitted(name)] == [
        *("feature", "optimize", "pti")
    ]
    assert len(chosen_faces(tmp_path, "photo", 4)) == 9
    assert [path.stem for path in chosen_faces(tmp_path, "pti", 4)] == ["0", "4", "8"]


def test_tables_of_all_faces_and_of_those_that_all_methods_share(tmp_path: Path) -> None:
    text, body = _tables(tmp_path)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "## 4 faces: `photo`\n" in text
    assert "## 2 faces: `photo`, `pti`\n" in text
    assert "| `photo` | 3 | 0.25 ± 0 |" in text  # seconds: the median of 1.5, 2.5, 3.5 and 4.5
    found = {(line["faces"], line["method"], line["way"], line["edit"], line["metric"]): line for line in body["lines"]}
    assert found[4, "photo", "composed", "age+1", "moved"]["n"] == 3
    assert found[2, "pti", "plain", "edits", "passengers"]["value"]["mean"] == pytest.approx(1.0)


def test_methods_are_added_to_a_table(tmp_path: Path) -> None:
    _, before = _tables(tmp_path)
    for way in ("composed", "plain"):
        _run(tmp_path / "gra" / way, ["a", "c", "b", "d"], 0.75)
        _run(tmp_path / "pti" / way, ["a", "c"], 0.125)
    document = tmp_path / "methods.md"
    write_tables(document, tmp_path, ["gra", "pti"], EDITS, "Another machine.", keep=True)
    text, lines = document.read_text(), json.loads(document.with_suffix(".json").read_text())["lines"]
    assert "One machine. `gra`, `pti`: another machine." in text
    assert "## 4 faces: `photo`, `gra`\n" in text
    assert "## 2 faces: `photo`, `gra`, `pti`\n" in text
    assert "| `pti` | 2 | 0.125 ± 0 |" in text
    assert [line for line in before["lines"] if line["method"] == "photo"] == [
        x for x in lines if x["method"] == "photo"
    ]
    assert {line["value"]["mean"] for line in lines if line["method"] == "pti" and line["metric"] == "mse"} == {0.125}


def test_a_document_without_markers_is_not_touched(tmp_path: Path) -> None:
    document = tmp_path / "other.md"
    document.write_text("mine\n")
    _run(tmp_path / "photo/composed", ["a"], 0.1)
    _run(tmp_path / "photo/plain", ["a"], 0.1)
    with pytest.raises(ValueError, match="needs the lines"):
        write_tables(document, tmp_path, ["photo"], EDITS, "")
    assert document.read_text() == "mine\n"
