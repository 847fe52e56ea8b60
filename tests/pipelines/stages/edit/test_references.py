"""`--like`: what a reference portrait's text means, and the edit that comes of its measures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.edits import Aim
from pipelines.errors import PhotoError, UsageError
from pipelines.stages.edit.references import USUAL, edits_like, references

KNOWN = (*USUAL, "age")


def look(path: Path) -> Mapping[str, float]:
    if path.stem == "faceless":
        raise PhotoError("no-face", "no face was found")
    return {"smile": 1.3, "mouth_open": 0.1, "eyes_open": 0.1, "yaw": -12.5, "pitch": 2.0, "age": 40.0}


def test_texts_name_portraits_and_attributes() -> None:
    assert references(["a/REF.jpg=smile,yaw", "b=c.png"]) == [
        (Path("a/REF.jpg"), ("smile", "yaw")),
        (Path("b"), ("c.png",)),
    ]
    assert references(["REF.jpg"]) == [(Path("REF.jpg"), USUAL)]


def test_a_list_names_several(tmp_path: Path) -> None:
    (tmp_path / "refs.csv").write_text(
        '﻿reference,attributes\none.jpg,"smile, yaw"\n/abs/two.png,age,pitch\nthree.jpg\n', "utf-8"
    )
    assert references([str(tmp_path / "refs.csv")]) == [
        (tmp_path / "one.jpg", ("smile", "yaw")),
        (Path("/abs/two.png"), ("age", "pitch")),
        (tmp_path / "three.jpg", USUAL),
    ]


def test_the_edit_goes_to_what_was_measured() -> None:
    [edit] = edits_like(["dir/my ref.jpg=smile,yaw"], KNOWN, look)
    assert edit.name == "like-my_ref"
    assert edit.aims == (Aim("smile", 1.3, "raw", True), Aim("yaw", -12.5, "deg", True))


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["x.jpg=hair"], "'hair' cannot be taken from 'x.jpg'"),
        (["faceless.jpg"], "the reference 'faceless.jpg' cannot be used: no face was found"),
        (["=smile"], "cannot read the reference"),
        (["absent.csv"], "cannot be read"),
        (["a/x.jpg", "b/x.jpg=yaw"], "share the folder 'like-x'"),
    ],
)
def test_mistakes_have_a_sentence(texts: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        edits_like(texts, KNOWN, look)
