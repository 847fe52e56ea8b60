"""Lines that survive kills, full disks, odd names and other programs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import OutputError, UsageError
from pipelines.records.manifest import (
    PARTS,
    ManifestWriter,
    Record,
    fingerprint,
    has_manifest,
    merge_parts,
    part_files,
    read_manifest,
)
from pipelines.records.manifest_index import ManifestIndex
from pipelines.types import Failure

QUAD = ((0.0, 1.5), (2.0, 3.0), (4.0, 5.0), (6.0, 7.0))


def record(key: str, **changes: object) -> Record:
    return Record(key, f"/photos/{key}.jpg", "d" * 64, **changes)  # type: ignore[arg-type]


def write(folder: Path, *records: Record, part: str = "run") -> None:
    writer = ManifestWriter(folder, part)
    for one in records:
        writer.append(one)
    writer.close()


def test_records_come_back_whole(tmp_path: Path) -> None:
    odd = os.fsdecode(b"new\nline \xff") + "😀\u2028\x85"
    full = record(
        odd,
        outputs={"face": f"{odd}.png"},
        quad=QUAD,
        scores={"loss": 0.5},
        fingerprint="f",
        ms={"write": 1.5},
        error=Failure("align", "no-face", "ünïcode"),
        status="failed",
        stat=(3, 1_700_000_000_123_456_789),
    )
    write(tmp_path, full, record("b"))
    assert read_manifest(tmp_path) == {odd: full, "b": record("b")}
    merge_parts(tmp_path)
    assert read_manifest(tmp_path)[odd] == full
    assert (tmp_path / "manifest.jsonl").read_bytes().isascii()
    assert not (tmp_path / "manifest.d").exists()


def test_last_record_wins_and_merging_twice_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, record("b"), record("a", fingerprint="old"))
    merge_parts(tmp_path)
    write(tmp_path, record("a", fingerprint="new"), part="2-of-2")
    part = (tmp_path / "manifest.d" / "2-of-2.jsonl").read_bytes()
    assert read_manifest(tmp_path)["a"].fingerprint == "new"
    merge_parts(tmp_path)
    merged = (tmp_path / "manifest.jsonl").read_bytes()
    (tmp_path / "manifest.d").mkdir()  # killed between the rename and the removal of the parts
    (tmp_path / "manifest.d" / "2-of-2.jsonl").write_bytes(part)
    merge_parts(tmp_path)
    assert (tmp_path / "manifest.jsonl").read_bytes() == merged
    assert [json.loads(line)["key"] for line in merged.splitlines()] == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path: Path, cut: int) -> None:
    write(tmp_path, record("a"), record("b"))
    path = tmp_path / "manifest.d" / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert set(read_manifest(tmp_path)) == {"a"}
    write(tmp_path, record("c"))
    assert set(read_manifest(tmp_path)) == {"a", "c"}


@pytest.mark.parametrize("line", ["hello", "{}", "[1]", '{"v": 2}', "null", '{"v":1,"status":"ok","key":3}'])
def test_a_damaged_line_costs_its_item_and_a_foreign_file_is_refused(tmp_path: Path, line: str) -> None:
    path, notes = tmp_path / "manifest.jsonl", list[str]()
    path.write_text(record("a").to_line() + line + "\n" + record("b").to_line())
    assert set(read_manifest(tmp_path, notes)) == {"a", "b"}
    assert len(notes) == 1
    assert f"damaged: 1 line of {path} (2);" in notes[0]
    path.write_text(record("a").to_line() + f"{line}\n" * 2)
    with pytest.raises(UsageError, match=r"line 2 of .*manifest\.jsonl is not a record"):
        read_manifest(tmp_path)
    path.write_text(f"{line}\n")
    with pytest.raises(UsageError, match=r"line 1 of .*manifest\.jsonl is not a record"):
        read_manifest(tmp_path)


BAD_FIELDS: dict[str, list[object]] = {
    "key": ["", "/a", "../a", "a/../../b", "a/..", "a\\..\\b", "a\0b", "\ud800", 3, None],
    "source": ["a\0b", "\ud800", []],
    "digest": ["ü", 1],
    "status": ["done", None],
    "outputs": [{"face": "../secret.png"}, {"face": "/etc/passwd"}, {"face": "a\0"}, {"f\ud800": "a"}, {"face": 1}, []],
    "quad": [[[1e9, 0]] * 4, [[math.nan, 0]] * 4, [[math.inf, 0]] * 4, [[0, 0]] * 3, [[0]] * 4, "quad", [["0", 0]] * 4],
    "scores": [{"faces": 100_000_000}, {"faces": -1}, {"x": math.nan}, {"x": math.inf}, {"x": 10**400}, {"x": True}, 3],
    "fingerprint": ["ü", {}],
    "ms": [{"x": math.nan}, {"x": "1"}],
    "error": [{"stage": "align"}, {"stage": 1, "code": "", "message": ""}, "text"],
    "stat": [[1], [1.5, 2], ["1", 2], 7],
    "v": [2, "1", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_FIELDS.items() for value in values])
def test_a_field_that_is_not_to_be_believed(tmp_path: Path, name: str, value: object) -> None:
    body = json.loads(record("b").to_line()) | {name: value}
    (tmp_path / "manifest.jsonl").write_text(record("a").to_line() + json.dumps(body) + "\n")
    assert set(read_manifest(tmp_path)) == {"a"}
    assert set(ManifestIndex(tmp_path)) == {"a"}


def test_places_that_deliveries_note_are_believed(tmp_path: Path) -> None:
    outputs = {"face": "../out-000.tar::sub/a.png", "latents": "s3://bucket/faces/a.safetensors"}
    write(tmp_path, record("a", outputs=outputs))
    assert read_manifest(tmp_path)["a"].outputs == outputs


def test_brackets_without_end_are_a_damaged_line(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "manifest.jsonl").write_text(record("a").to_line() + deep + "\n" + '{"a":' * 100_000 + "\n" * 2)
    with pytest.raises(UsageError, match="line 2 of"):
        read_manifest(tmp_path)


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    class Full:
        """The file of a disk with room for ten more bytes."""

        def __init__(self, inner: object) -> None:
            self.inner = inner

        def write(self, data: bytes) -> int:
            return self.inner.write(data[:10])  # type: ignore[attr-defined, no-any-return]

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    writer = ManifestWriter(tmp_path)
    writer.append(record("a"))
    real, writer._file = writer._file, Full(writer._file)  # type: ignore[assignment]
    with pytest.raises(OutputError, match="No space"):
        writer.append(record("b"))
    writer._file = real
    writer.append(record("c"))
    writer.close()
    assert set(read_manifest(tmp_path)) == {"a", "c"}


def test_an_unused_part_leaves_nothing(tmp_path: Path) -> None:
    ManifestWriter(tmp_path).close()
    assert not has_manifest(tmp_path)
    assert read_manifest(tmp_path) == {}
    with pytest.raises(OutputError):
        ManifestWriter(Path("/dev/null/folder"))


def test_numbers_that_are_not_finite_are_left_out() -> None:
    line = record("a", scores={"x": math.nan, "y": math.inf, "z": 1.0}).to_line()
    assert json.loads(line)["scores"] == {"z": 1.0}


def test_fingerprint_tells_parts_apart() -> None:
    assert fingerprint("a", 1, {"x": 1, "y": 2}) == fingerprint("a", 1, {"y": 2, "x": 1})
    texts = [
        fingerprint("ab", "c"),
        fingerprint("a", "bc"),
        fingerprint("abc"),
        fingerprint(["ab", "c"]),
        fingerprint("ab", None),
    ]
    assert len(set(texts)) == len(texts)
    assert all(len(text) == 64 for text in texts)


def test_reading_100_000_records_stays_in_budget(tmp_path: Path) -> None:
    import time

    line = record(
        "KEY", outputs={"inversion": "inversion/KEY.png"}, quad=QUAD, fingerprint="f" * 64, stat=(1, 2)
    ).to_line()
    (tmp_path / "manifest.jsonl").write_text("".join(line.replace("KEY", f"{n:06d}") for n in range(100_000)))
    started = time.process_time()
    assert len(read_manifest(tmp_path)) == 100_000
    assert time.process_time() - started < 5


def test_parts_that_are_merged_while_one_looks_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PARTS).mkdir()

    def gone(folder: Path, pattern: str) -> Iterator[Path]:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(Path, "glob", gone)
    assert part_files(tmp_path) == []
    assert read_manifest(tmp_path) == {}
