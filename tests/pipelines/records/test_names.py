"""`--name`: templates that are safe and keep pictures apart; others are refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.records.names import parse_name
from pipelines.records.outputs import INVERSION, Output, mask_of, photo_of

EDITS = ("smile+2", "age-1", "smile+2,age-1")


def test_fields() -> None:
    template = parse_name("{folder}/{stem}_{face}-{edit}", EDITS)
    assert template.name("a/b/c.2", "smile+2", 2) == "a/b/c_2-smile+2"
    assert template.name("c", "smile+2") == "c_0-smile+2"
    assert parse_name("{key}-{edit}", EDITS).name("a/c.1", "age-1", 1) == "a/c.1-age-1"


def test_pictures_masks_and_photos_are_named_so_and_nothing_else() -> None:
    template = parse_name("{key}-{edit}", EDITS)
    paths = [
        Output(kind, "face", ".png", "x", name=template).path("a/b")
        for kind in ("age-1", mask_of("age-1"), photo_of("age-1"), INVERSION)
    ]
    assert paths == ["a/b-age-1.png", "masks/a/b-age-1.png", "photos/a/b-age-1.png", "inversion/a/b.png"]


def test_top_folder() -> None:
    assert parse_name("edited/{key}-{edit}", EDITS).top == "edited"
    assert [parse_name(text, EDITS).top for text in ("{key}-{edit}", "x{stem}/{key}-{edit}")] == ["", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{key}", "one name"),
        ("{edit}", "all photos one name"),
        ("{edit}/{folder}/x", "all photos one name"),
        ("../{key}-{edit}", "leaves the run's folder"),
        ("/tmp/{key}-{edit}", "leaves the run's folder"),
        ("{key}/../{edit}", "leaves the run's folder"),
        ("{key}-{edit}/", "leaves the run's folder"),
        ("{key}\\{edit}", "no safe file name"),
        ("{key}:{edit}", "no safe file name"),
        (" {key}-{edit}", "no safe file name"),
        ("{key}-{name}", "no field '{name}'"),
        ("{key.__class__}-{edit}", "no field"),
        ("{key!r}-{edit}", "no field"),
        ("{face:03d}-{key}-{edit}", "no field"),
        ("{}-{edit}", "no field"),
        ("{key}-{edit", "cannot read"),
        ("{key}{edit}", "joins two fields"),
        ("{key}-{key}-{edit}", "one twice"),
        ("x{folder}/{stem}-{edit}", "folder of its own"),
        ("{folder}-{stem}-{edit}", "folder of its own"),
        ("{key}/{edit}/{stem}-{folder}", "folder of its own"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_name(text, EDITS)


def test_edits_whose_names_end_alike() -> None:
    """'a-b' with 'smile+2' and 'a' with 'b-smile+2' are both a-b-smile+2."""
    with pytest.raises(UsageError, match="two photos one name"):
        parse_name("{key}-{edit}", ("smile+2", "b-smile+2"))
    assert parse_name("{edit}/{key}", ("smile+2", "b-smile+2")).name("a", "smile+2") == "smile+2/a"


def test_several_faces_need_their_number() -> None:
    with pytest.raises(UsageError, match="face"):
        parse_name("{folder}/{stem}-{edit}", EDITS, several_faces=True)
    assert not parse_name("{folder}/{stem}.{face}-{edit}", EDITS, several_faces=True).needs_listing


def test_what_needs_the_listing() -> None:
    assert parse_name("{stem}-{edit}", EDITS).needs_listing
    assert not parse_name("{key}-{edit}", EDITS).needs_listing


@pytest.mark.parametrize(
    "text", ["{key}-{edit}", "{edit}-{key}", "{folder}/{stem}-{edit}", "{folder}/{edit}/{stem}", "x/{edit}/{key}"]
)
@given(keys=st.sets(st.from_regex(r"[ab.\-]{0,3}[ab]/?[ab\-]{0,3}[ab]", fullmatch=True), max_size=6))
def test_names_are_apart(text: str, keys: set[str]) -> None:
    edits = ("b+1", "ab+1", "a+1,b+1")
    template = parse_name(text, edits)
    pairs = list(itertools.product(keys, edits))
    assert len({template.name(*pair) for pair in pairs}) == len(pairs)
