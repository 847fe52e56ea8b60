from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import WeightsError
from pipelines.weights.catalogue import closure, find_entry, index_member, load_catalogue
from tests.pipelines.weights.helpers import make_entry

MINIMAL = """
[net]
role = "trunk"
arch = "x"
format = "dat"
filename = "net.dat"
licence = "MIT"
origin = "me"
"""
NAMES = {
    "mobile-ffhq", "mobile-ffhq-graph", "mobile-ffhq-mapping", "mobile-ffhq-mapping-graph", "landmarks-68", "id-dlib",
    "st-lpips-alex", "st-lpips-vgg", "age-dlib", "gender-dlib", "mobilenetv2-imagenet", "retinaface-mobile0.25",
    "retinaface-resnet50", "lpips-alex-trunk", "arcface-irse50", "sample-astronaut", "sample-obama",
}  # fmt: skip


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "weights.toml"
    path.write_text(text)
    return path


def test_the_packed_catalogue_loads_and_holds_the_names_that_others_use() -> None:
    entries = load_catalogue()
    assert set(entries) >= NAMES
    assert all(entry.licence and entry.origin for entry in entries.values())
    assert entries["sample-32bit"].filename == "32bit.png"
    assert not {"resolution", "num_ws"} - set(entries["mobile-ffhq"].params)


def test_every_require_of_the_packed_catalogue_exists_and_the_generator_needs_four_files() -> None:
    entries = load_catalogue()
    assert all(name in entries for entry in entries.values() for name in entry.requires)
    assert closure(entries, ["mobile-ffhq"]) == [
        "mobile-ffhq", "mobile-ffhq-graph", "mobile-ffhq-mapping", "mobile-ffhq-mapping-graph",
    ]  # fmt: skip


def test_weights_trained_on_research_data_are_marked_non_commercial() -> None:
    entries = load_catalogue()
    assert all(entries[name].noncommercial for name in ("mobile-ffhq", "landmarks-68", "arcface-irse50"))
    assert not entries["id-dlib"].noncommercial


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'net' is wrong: sha265"):
        load_catalogue(write(tmp_path, MINIMAL + 'sha265 = "00"\n'))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="licence"):
        load_catalogue(write(tmp_path, MINIMAL.replace('licence = "MIT"\n', "")))


def test_a_require_that_is_no_entry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="requires nett"):
        load_catalogue(write(tmp_path, MINIMAL + 'requires = ["nett"]\n'))


def test_two_entries_cannot_share_a_file_name_even_in_another_case(tmp_path: Path) -> None:
    twin = MINIMAL.replace("[net]", "[twin]").replace("net.dat", "NET.dat")
    with pytest.raises(WeightsError, match="share the file name"):
        load_catalogue(write(tmp_path, MINIMAL + twin))


def test_text_that_is_not_toml_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        load_catalogue(write(tmp_path, "[net\n"))


@pytest.mark.parametrize(
    "fields",
    [
        {"filename": "../evil"},
        {"filename": "a/b"},
        {"sources": ("http://plain.example/x",)},
        {"sources": ("index:p==1:wheel:../../x",)},
        {"sources": ("index:p==1:wheel:/etc/x",)},
        {"sha256": "abc"},
        {"sha256_prefix": "ffff"},
        {"sha256": "", "sources": ("index:p==1:wheel:x",)},
        {"bytes": -1},
    ],
)
def test_unsafe_or_impossible_entries_are_refused(fields: dict[str, object]) -> None:
    make_entry()
    with pytest.raises(ValidationError):
        make_entry(**fields)


def test_an_entry_is_frozen() -> None:
    with pytest.raises(ValidationError):
        make_entry().sha256 = ""


def test_an_unknown_name_lists_the_nearest_first() -> None:
    with pytest.raises(WeightsError, match="unknown weights 'landmark-68'; known: landmarks-68"):
        find_entry(load_catalogue(), "landmark-68")


def test_index_sources_are_parsed() -> None:
    member = index_member("index:random-face==2021.7.21.1:wheel:random_face/data/Net.bin")
    assert member is not None
    assert (member.package, member.version, member.kind) == ("random-face", "2021.7.21.1", "wheel")
    assert index_member("https://example.org/a") is None


def test_a_circle_of_requires_ends() -> None:
    entries = {"a": make_entry("a", requires=("b",)), "b": make_entry("b", requires=("a",))}
    assert closure(entries, ["b"]) == ["b", "a"]
