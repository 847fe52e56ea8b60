from __future__ import annotations

import math

import pytest

from pipelines.errors import UsageError
from pipelines.metrics.summary import Scores
from pipelines.metrics.thresholds import check, parse_requirement, sentence


@pytest.fixture
def scores() -> Scores:
    made = Scores({"mse": "lower", "id-dlib": "higher", "attributes": "none"})
    for index, (mse, identity) in enumerate([(0.1, 0.9), (0.4, math.nan), (0.2, 0.5)]):
        made.add(f"k{index}", "smile+2", {"id-dlib": identity, "attributes.smile": float(-index)})
        made.add(f"k{index}", "inversion", {"mse": mse, "id-dlib": identity})
    return made


def test_nan_is_left_out_and_n_says_so(scores: Scores) -> None:
    assert scores.figures("inversion", "id-dlib") == {
        "mean": pytest.approx(0.7), "median": pytest.approx(0.7), "n": 2, "better": "higher"
    }  # fmt: skip
    assert scores.figures("inversion", "mse")["median"] == 0.2


def test_nothing_valid_gives_no_figure() -> None:
    made = Scores({"id-dlib": "higher"})
    made.add("a", "inversion", {"id-dlib": math.nan})
    assert made.figures("inversion", "id-dlib") == {"mean": None, "median": None, "n": 0, "better": "higher"}
    assert made.worst("inversion", "id-dlib") == []
    assert made.images() == {"a": {"inversion": {"id-dlib": None}}}


def test_worst_follows_the_better_side(scores: Scores) -> None:
    assert [row["key"] for row in scores.worst("inversion", "mse")] == ["k1", "k2", "k0"]
    assert [row["key"] for row in scores.worst("inversion", "id-dlib")] == ["k2", "k0"]
    assert scores.worst("smile+2", "attributes.smile")[0] == {"key": "k2", "value": -2.0}


def test_worst_is_at_most_five() -> None:
    made = Scores({"mse": "lower"})
    for index in range(9):
        made.add(str(index), "inversion", {"mse": float(index)})
    assert [row["value"] for row in made.worst("inversion", "mse")] == [8, 7, 6, 5, 4]


def test_the_inversion_comes_first_and_groups_are_nested(scores: Scores) -> None:
    table = scores.table()
    assert list(table) == ["inversion", "smile+2"]
    assert table["smile+2"]["attributes"]["smile"]["mean"] == -1
    assert scores.images()["k0"]["smile+2"] == {"id-dlib": 0.9, "attributes": {"smile": 0.0}}


@pytest.mark.parametrize("text", ["id", "id>0.5", "id>=", "id>=nan", "id>=inf", ">=1", "id>=0.5x", ""])
def test_a_bad_requirement_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"id>=0\.5"):
        parse_requirement(text)


def test_requirements_are_read() -> None:
    assert str(parse_requirement(" id >= 0.5 ")) == "id>=0.5"
    named = parse_requirement("smile+2,age-1:attributes.smile>=1e0")
    assert (named.edit, named.metric, named.bound) == ("smile+2,age-1", "attributes.smile", 1.0)


def test_identity_is_required_of_every_edit_and_pixels_of_the_inversion(scores: Scores) -> None:
    outcomes = check(parse_requirement("id>=0.7"), "id-dlib", True, scores)
    assert [(o["edit"], o["met"]) for o in outcomes] == [("inversion", True), ("smile+2", True)]
    outcomes = check(parse_requirement("mse<=0.2"), "mse", False, scores)
    assert [(o["edit"], o["met"]) for o in outcomes] == [("inversion", False)]
    told = sentence(outcomes[0])
    assert "mse" in told
    assert "0.2333" in told
    assert "<=0.2" in told


def test_what_was_not_measured_is_unmet_and_an_unknown_edit_is_refused(scores: Scores) -> None:
    outcome = check(parse_requirement("smile+2:mse<=9"), "mse", False, scores)[0]
    assert not outcome["met"]
    assert "could not be measured" in sentence(outcome)
    with pytest.raises(UsageError, match=r"no 'age\+1', only inversion, smile\+2"):
        check(parse_requirement("age+1:id>=0"), "id-dlib", True, scores)
