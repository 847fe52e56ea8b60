"""What dead workers leave behind, also on a disk that is nearly full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.events import RunSummary
from pipelines.engine.spread.in_flight import InFlight, clear_in_flight, left_by, stop_file
from pipelines.errors import OutputError
from pipelines.records.manifest import PARTS, ManifestWriter, Record


class Nearly:
    """The file of a disk with room for so many more bytes: it takes part of a line, as `write` may."""

    def __init__(self, inner: Any, room: int) -> None:
        self._inner = inner
        self.room = room

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.room -= len(taken)
        return int(self._inner.write(taken))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def taken_by(folder: Path, name: str) -> InFlight:
    return InFlight(folder, name, RunSummary("", ""))


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, room: int) -> None:
    worker = taken_by(tmp_path, "t-0000-aa")
    worker.take("a", 1)
    real = worker._taken._file
    worker._taken._file = Nearly(real, room)  # type: ignore[assignment]
    with pytest.raises(OutputError, match="No space left on device"):
        worker.take("b", 1)
    assert left_by(tmp_path, "t-0000") == ({}, ["a"])
    worker._taken._file = real  # somebody has made room
    worker.take("c\nd\udcff", 1)
    assert left_by(tmp_path, "t-0000") == ({}, ["a", "c\nd\udcff"])
    worker.close()
    assert not list((tmp_path / PARTS).iterdir())


def test_what_a_dead_worker_leaves(tmp_path: Path) -> None:
    worker, manifest = taken_by(tmp_path, "t-0001-aa"), ManifestWriter(tmp_path, "t-0001-aa")
    for photo, items in (("whole", 2), ("half", 2), ("failed", 1), ("none", 1)):
        worker.take(photo, items)
    done = {
        record.key: record
        for record in (
            Record("whole", "/w", scores={"faces": 2}),
            Record("whole.1", "/w", scores={"faces": 2}),
            Record("half", "/h", scores={"faces": 2}),
            Record("failed", "/f", status="failed"),
        )
    }
    for record in done.values():
        manifest.append(record)
    (tmp_path / PARTS / "t-0001-bb.taken").write_text('"later"\n"torn')
    (tmp_path / PARTS / "t-0002-cc.taken").write_text('"of another shard"\n')
    stop_file(tmp_path, "t").touch()
    assert left_by(tmp_path, "t-0001") == (done, ["half", "later", "none"])
    clear_in_flight(tmp_path, "t")
    assert [path.name for path in (tmp_path / PARTS).iterdir()] == ["t-0001-aa.jsonl"]
