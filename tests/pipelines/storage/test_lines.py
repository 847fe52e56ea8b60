"""A stream's lines, kept for whoever asks again."""

from __future__ import annotations

import io

from pipelines.storage.lines import Deadline, StreamLines


def test_the_lines_of_a_stream_are_there_for_everyone() -> None:
    text = "a\n\nb" * 3 + "x" * 200_000 + "\né\udcff\nlast"
    lines = StreamLines(io.BytesIO(text.encode("utf-8", "surrogateescape")), Deadline(1))
    both = zip(lines, lines, strict=True)
    assert all(one == other for one, other in both)
    assert "".join(lines) == text
    assert list(lines)[-1] == "last"
