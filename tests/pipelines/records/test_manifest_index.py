"""The manifest as an index: the records that `read_manifest` gives, read when they are asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.engine.resume import output_index
from pipelines.engine.resume.output_index import OutputIndex
from pipelines.errors import UsageError
from pipelines.records import manifest_index as known
from pipelines.records.manifest import MANIFEST, PARTS, ManifestWriter, Record, merge_parts, read_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.types import Failure

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
PATH = st.text(st.characters(exclude_characters="\0./\\", exclude_categories=["Cs"]), min_size=1, max_size=8)
RECORDS = st.builds(
    Record,
    key=PATH,
    source=TEXT,
    digest=st.text("0123456789abcdef", max_size=8),
    status=st.sampled_from(["ok", "failed", "skipped"]),
    outputs=st.dictionaries(TEXT, PATH, max_size=2),
    quad=st.none() | st.just(((0.0, 1.5), (2.0, 3.0), (4.0, 5.0), (6.0, 7.0))),
    scores=st.dictionaries(TEXT, st.integers(-9, 9), max_size=2),
    error=st.none() | st.builds(Failure, TEXT, TEXT, TEXT),
    stat=st.none() | st.tuples(st.integers(0, 10**12), st.integers(0, 10**19)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, max_size=6), loose=st.booleans(), fresh=st.lists(RECORDS, max_size=2))
def test_the_records_are_those_of_the_manifest(
    records: list[Record], loose: bool, fresh: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    lines = [record.to_line() for record in records]
    if loose:  # as another program may write them
        lines = [json.dumps(dict(reversed(json.loads(line).items())), ensure_ascii=False) + " \n" for line in lines]
        lines = [line.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for line in lines]
    (folder / MANIFEST).write_text("".join(lines) + '{"v":1,"key":"torn', encoding="utf-8")
    if fresh:
        writer = ManifestWriter(folder)
        for record in fresh:
            writer.append(record)
        writer.close()
    found = ManifestIndex(folder)
    expected = read_manifest(folder)
    assert dict(found) == expected
    assert {key: found[key] for key in reversed(list(expected))} == expected
    assert len(found) == len(expected)
    assert "no such key" not in found
    for kind in {"face", *(kind for record in expected.values() for kind in record.outputs)}:
        if kind.isascii() and kind.isalnum():
            assert found.has_output(kind) == any(kind in record.outputs for record in expected.values())


def test_long_lines_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_CHUNK", 16)
    records = [Record(f"k{n}", "/x.png", scores={f"score{m}": m for m in range(40)}) for n in range(3)]
    (tmp_path / MANIFEST).write_text("".join(record.to_line() for record in records))
    assert dict(ManifestIndex(tmp_path)) == {record.key: record for record in records}


def test_a_manifest_that_is_replaced_meanwhile_is_still_read(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(Record("a", "/old.png").to_line() + Record("b", "/b.png").to_line())
    found = ManifestIndex(tmp_path)
    (tmp_path / PARTS).mkdir()
    (tmp_path / PARTS / "run.jsonl").write_text(Record("a", "/a much longer path than before.png").to_line())
    merge_parts(tmp_path)
    assert (found["a"].source, found["b"].source) == ("/old.png", "/b.png")
    assert not ManifestIndex(tmp_path / "nowhere")


@pytest.mark.parametrize("line", ["hello", "{}", "[1]", '{"v": 2}', "null", '{"v":1,"status":"ok","key":3}', '{"v":1,'])
def test_a_damaged_line_costs_its_item_and_a_foreign_file_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / MANIFEST).write_text(Record("a", "/a").to_line() + line + "\n" + Record("c", "/c").to_line())
    found = ManifestIndex(tmp_path)
    assert list(found) == ["a", "c"]
    assert len(found.notes) == 1
    assert "1 line of" in found.notes[0]
    assert "(2)" in found.notes[0]
    (tmp_path / MANIFEST).write_text(Record("a", "/a").to_line() + f"{line}\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*manifest\.jsonl is not a record"):
        ManifestIndex(tmp_path)


def test_a_record_with_a_wrong_field_is_not_there_when_it_is_asked_for(tmp_path: Path) -> None:
    bad = Record("b", "/b").to_line().replace('"outputs":{}', '"outputs":{"face":3}')
    (tmp_path / MANIFEST).write_text(Record("a", "/a").to_line() + bad + Record("c", "/c").to_line())
    found = ManifestIndex(tmp_path)
    assert found["a"] == Record("a", "/a")
    assert found.get("b") is None
    assert "b" not in found
    assert "'b'" in found.notes[0]
    assert dict(ManifestIndex(tmp_path)) == {"a": Record("a", "/a"), "c": Record("c", "/c")}


def test_outputs_are_looked_up_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "sub/b.png", "sub/c.png", "many/1.png", "many/2.png", "many/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(output_index, "MOST_NAMES", 2)
    monkeypatch.setattr(output_index, "MOST_FOLDERS", 2)
    looks: list[str] = []
    real = os.scandir

    def scandir(path: str) -> Any:
        looks.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    there = OutputIndex(tmp_path / "out")
    assert not there.has("../a.png/x.png")
    there = OutputIndex(tmp_path)
    names = ("a.png", "sub/b.png", "sub/c.png", "sub/d.png", "many/3.png", "many/4.png", "none/x.png", "a.png")
    assert [there.has(name) for name in names] == [True, True, True, False, True, False, False, True]
    assert looks.count(str(tmp_path / "sub")) == 1
    assert there.has("s3://bucket/a.png")
    assert not there.has("o-0.tar::a.png")
