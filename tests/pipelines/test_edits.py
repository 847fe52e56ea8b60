"""What a person types after --attr."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.edits import Aim, make_edit, parse_edits, read_name
from pipelines.errors import UsageError


def names(*texts: str) -> list[str]:
    return [edit.name for edit in parse_edits(texts)]


def test_names_and_terms() -> None:
    assert names("smile=+2", "smile=+2,age=-1", "smile=-1.5", "smile=0", "smile=-0", " smile = 1e1 ") == [
        "smile+2",
        "smile+2,age-1",
        "smile-1.5",
        "smile+0",
        "smile+10",
    ]
    assert parse_edits(["smile=+2,age=-1"])[0].terms == (("smile", 2.0), ("age", -1.0))


def test_sweeps_include_both_ends_and_combine() -> None:
    assert names("smile=-2:2:1") == ["smile-2", "smile-1", "smile+0", "smile+1", "smile+2"]
    assert names("smile=0:0.3:0.1") == ["smile+0", "smile+0.1", "smile+0.2", "smile+0.3"]
    assert names("smile=1:-1:-1") == ["smile+1", "smile+0", "smile-1"]
    assert names("smile=1:1:1") == ["smile+1"]
    assert names("smile=0:2:1.5") == ["smile+0", "smile+1.5"]
    assert len(names("smile=-1:1:1,age=0:3:1")) == 12


def test_duplicates_collapse() -> None:
    assert names("smile=2", "smile=+2.0", "smile=1:2:1") == ["smile+2", "smile+1"]
    assert names("smile=1,age=2", "age=2,smile=1") == ["smile+1,age+2"]


@pytest.mark.parametrize(
    "text",
    [
        *("smile", "smile=", "=2", "smile=nan", "smile=inf", "smile=1e999", "smile=two", "smile=1:2", "smile=1:2:3:4"),
        *("smile=1:5:0", "smile=1:5:-1", "smile=0:1e9:1e-9", "smile=0:100:1,age=0:100:1", "smile=1,smile=2"),
        *("../x=1", "a/b=1", "", ",", "smile=1,,age=2", "1x=2", "smile=0x10", "smile=1_0", "smile=٣:٤"),
    ],
)
def test_garbage_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"for example smile=\+2"):
        parse_edits([text])


def test_too_many_and_indistinguishable_edits_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 1000"):
        parse_edits([f"smile={i}:{i + 899}:1" for i in (0, 5000)])
    with pytest.raises(UsageError, match="six digits"):
        parse_edits(["smile=1.0000001", "smile=1.0000002"])
    with pytest.raises(UsageError, match="too long"):
        parse_edits([",".join(f"attribute{n}=1" for n in range(30))])


def test_amounts_have_units_and_names() -> None:
    assert names("age=+10y", "age:=60y", "age:=60", "yaw:=0", "yaw=-15°", "smile:=1", "age:=30:50:10y") == [
        "age+10y",
        "age=60y",
        "yaw=0deg",
        "yaw-15deg",
        "smile=1sd",
        "age=30y",
        "age=40y",
        "age=50y",
    ]
    [edit] = parse_edits(["age:=60,smile=+2,yaw=+1sd"])
    assert edit.name == "smile+2,age=60y,yaw+1sd"
    assert edit.terms == (("smile", 2.0),)
    assert edit.aims == (Aim("age", 60.0, "y", True), Aim("yaw", 1.0, "sd", False))
    assert edit.attributes == ("smile", "age", "yaw")


@pytest.mark.parametrize("text", ["smile=+2y", "smile:=1deg", "age=5deg", "age:=y", "age:=", "age:=1,age=2"])
def test_amounts_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"for example smile=\+2"):
        parse_edits([text])


@given(st.floats(-1e6, 1e6))
def test_a_name_reads_back_as_its_edit(strength: float) -> None:
    name = make_edit([("smile", strength)]).name
    sign = name.removeprefix("smile")
    assert parse_edits([f"smile={sign}"])[0].name == name
    assert sign[0] in "+-"


@pytest.mark.parametrize("text", ["smile=+2", "smile=2,age=-1.5", "age@6-17=+0.00001", "pca.10@7-8=-3", "my-own=1e9"])
def test_a_name_is_read_back(text: str) -> None:
    edit = parse_edits([text])[0]
    assert read_name(edit.name) == edit


@pytest.mark.parametrize(
    "name", ["inversion", "age+10y", "age=60y", "smile+2,yaw=0deg", "smile", "masks/smile+2", "+2", ""]
)
def test_other_names_are_no_strengths(name: str) -> None:
    assert read_name(name) is None
