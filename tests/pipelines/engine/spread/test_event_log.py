"""What workers tell their parent, also from a disk that is nearly full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.spread.event_log import Journals, JournalTally
from pipelines.errors import OutputError


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


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, room: int) -> None:
    tally, journals = JournalTally(tmp_path, "t-0000-aa"), Journals(tmp_path, "t")
    tally.take("a", 1)
    real = tally._file
    tally._file = Nearly(real, room)  # type: ignore[assignment]
    with pytest.raises(OutputError, match="No space left on device"):
        tally.take("b", 1)
    assert [news["key"] for news in journals.news()] == ["a"]
    tally._file = real  # somebody has made room
    tally.ended("a", "", "")
    tally.close()
    assert [(news["kind"], news["key"]) for news in journals.news()] == [("end", "a")]
