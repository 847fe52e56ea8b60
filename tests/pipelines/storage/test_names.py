"""What a URL's query adds to a name."""

from __future__ import annotations

import pytest

from pipelines.storage.names import query_mark


@pytest.mark.parametrize(
    ("url", "mark"),
    [
        ("https://h/a.jpg?id=1", "_id=1"),
        ("https://h/a.jpg?id=2&size=big", "_id=2&size=big"),
        ("https://h/a.jpg?path=../x", "_path=.._x"),
        ("https://h/a.jpg?X-Amz-Signature=f00&X-Amz-Date=1&v=3", "_v=3"),
        ("https://h/a.jpg?sv=2020&se=2030&sig=abc", ""),
        ("https://h/a.jpg", ""),
        ("/a?b=1", ""),
    ],
)
def test_what_a_query_adds_to_a_key(url: str, mark: str) -> None:
    assert query_mark(url) == mark
    assert len(query_mark("https://h/a?" + "x" * 500)) < 20
