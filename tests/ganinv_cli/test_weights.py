from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ganinv_cli.weights import app, licence_text, size_text
from pipelines.errors import UsageError, WeightsError
from pipelines.weights.catalogue import load_catalogue
from tests.pipelines.weights import upstream_files
from tests.pipelines.weights.helpers import sha

GRAPH = "SynthesisNetwork.xml"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `ganinv weights ...` on an empty weights folder, offline, with an empty mirror folder."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANINV_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GANINV_OFFLINE", "1")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_list_shows_every_entry_with_licence_mark_and_status(run: Run) -> None:
    result = run("list")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("landmarks-68"))
    assert "99.7 MB" in line or "100 MB" in line
    assert "[non-commercial]" in line
    assert "index" in line


def test_list_as_json_is_one_document_with_status_of_a_mirrored_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mirror" / GRAPH).write_bytes(b"x")
    facts = {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}
    assert facts["mobile-ffhq-graph"]["status"] == "mirror"
    assert facts["mobile-ffhq"]["status"] == "index"
    assert facts["retinaface-resnet50"]["status"] == "https"
    assert facts["mobile-ffhq"]["requires"][0] == "mobile-ffhq-graph"


def test_show_tells_all_of_one_entry_and_an_unknown_name_is_an_error(run: Run) -> None:
    assert json.loads(run("show", "id-dlib", "--json").stdout)["bytes"] == 22466066
    assert "CC0" in run("show", "id-dlib").stdout
    result = run("show", "id-dlip")
    assert isinstance(result.exception, WeightsError)
    assert "id-dlib" in str(result.exception)


def test_pull_offline_names_all_four_files_of_the_generator(run: Run) -> None:
    result = run("pull", "mobile-ffhq")
    assert isinstance(result.exception, WeightsError)
    message = str(result.exception)
    assert all(name in message for name in ("SynthesisNetwork.bin", GRAPH, "MappingNetwork.bin", "MappingNetwork.xml"))


def test_pull_wants_names_or_all_not_both(run: Run) -> None:
    assert isinstance(run("pull").exception, UsageError)
    assert isinstance(run("pull", "id-dlib", "--all").exception, UsageError)


def test_a_wrong_file_is_refused_by_add_and_by_pull(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mirror" / GRAPH).write_bytes(b"x")
    for result in (run("add", str(tmp_path / "mirror" / GRAPH), "--as", "mobile-ffhq-graph"),
                   run("pull", "mobile-ffhq-graph")):  # fmt: skip
        assert isinstance(result.exception, WeightsError)
        assert "7918fce515243954" in str(result.exception)


def test_verify_fails_with_code_5_on_a_damaged_file_and_rm_forgets_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home/files").mkdir(parents=True)
    (tmp_path / "home/files" / GRAPH).write_bytes(b"x")
    result = run("verify", "--json")
    assert isinstance(result.exception, WeightsError)
    assert result.exception.exit_code == 5
    assert json.loads(result.stdout)["mobile-ffhq-graph"]["ok"] is False
    assert "removed" in run("rm", "mobile-ffhq-graph").stdout
    assert "was not cached" in run("rm", "mobile-ffhq-graph").stdout
    left = json.loads(run("verify", "--json").stdout)
    assert left.keys() == {name for name, entry in load_catalogue().items() if entry.packed}, (
        "our own files, always there"
    )
    assert all(result["ok"] for result in left.values())


def test_path_prints_the_path_alone(run: Run, shared: Path) -> None:
    source = shared / "mirror" / "mobilenet0.25_Final.pth"
    added = run("add", str(source), "--as", "retinaface-mobile0.25")
    assert added.exit_code == 0, added.exception
    assert "38ec7bb3c9cbfe2f" in added.stdout
    path = Path(run("path", "retinaface-mobile0.25").stdout.strip())
    assert path.read_bytes() == source.read_bytes()


def test_pull_to_fills_a_mirror(run: Run, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANINV_MIRROR", str(shared / "mirror"))
    result = run("pull", "retinaface-mobile0.25", "--to", str(tmp_path / "stick"), "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout) == {"retinaface-mobile0.25": str(tmp_path / "stick/mobilenet0.25_Final.pth")}
    assert (tmp_path / "stick/mobilenet0.25_Final.pth").is_file()


def test_sizes_and_licences_in_words() -> None:
    assert [size_text(n) for n in (0, 12, 59_865, 1_789_735, 32_025_440, 5_000_000_000)] == [
        "?", "12 B", "60 kB", "1.8 MB", "32 MB", "5.0 GB",
    ]  # fmt: skip
    assert licence_text("MIT", False) == "MIT"
    assert licence_text("MIT", True).endswith("[non-commercial]")


# -- convert ---------------------------------------------------------------------------------------------------------------


def test_convert_says_what_it_found_and_list_show_verify_rm_know_the_entries(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream_files.shrink(monkeypatch)
    file = upstream_files.e4e_file(tmp_path / "mine.pt")
    result = run("convert", str(file))
    assert result.exit_code == 0, result.exception
    assert "found an encoder of the family e4e" in result.stderr
    assert "trusted on first use" in result.stderr
    assert sha(file.read_bytes()) in result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["name", "mine-encoder", "mine-generator"]
    assert any(line.startswith("mine-encoder") for line in run("list").stdout.splitlines())
    assert json.loads(run("show", "mine-encoder", "--json").stdout)["source_file"] == "mine.pt"
    assert json.loads(run("verify", "--json").stdout)["mine-generator"]["ok"]
    assert Path(run("path", "mine-encoder").stdout.strip()).is_file()
    assert "mine: removed" in run("rm", "mine").stdout
    assert isinstance(run("show", "mine-encoder").exception, WeightsError)


def test_convert_as_json_is_one_document(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream_files.shrink(monkeypatch)
    file = upstream_files.e4e_file(tmp_path / "any.pt")
    facts = json.loads(run("convert", str(file), "--as", "e4e", "--json").stdout)
    assert facts["name"] == "e4e"
    assert facts["trusted_now"] is True
    assert {entry["role"] for entry in facts["entries"]} == {"encoder", "generator"}
    assert "converted" in next(line for line in run("list").stdout.splitlines() if line.startswith("e4e "))


def test_convert_gives_exit_code_2_for_mistakes_and_5_for_bad_files(run: Run, tmp_path: Path) -> None:
    missing = run("convert", str(tmp_path / "nothing.pt"))
    assert isinstance(missing.exception, UsageError)
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 cut short")
    bad = run("convert", str(tmp_path / "bad.pt"))
    assert isinstance(bad.exception, WeightsError)
    assert bad.exception.exit_code == 5


def test_an_upstream_file_without_an_address_tells_where_to_get_it(run: Run) -> None:
    for words in (("path", "sdic"), ("pull", "sdic")):
        result = run(*words)
        assert isinstance(result.exception, WeightsError)
        assert "drive link" in str(result.exception)
        assert "ganinv weights convert sdic.pt --as sdic" in str(result.exception)
