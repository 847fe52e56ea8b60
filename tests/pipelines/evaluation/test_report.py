from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation.report import ROWS, Report, ReportRow, Shot, WorstRows, number, render_report
from pipelines.metrics.summary import Scores

EVIL = '"><script>alert(1)</script>&<img src=x onerror=y>'
GREY = np.full((300, 300, 3), 128, np.uint8)


class _Page(HTMLParser):
    """Collects tags, their attributes and the text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def _metrics(key: str = "a", failures: int = 0, edit: str = "smile+2") -> dict[str, Any]:
    scores = Scores({"id-dlib": "higher", "mse": "lower", "attributes": "none"})
    scores.add(key, "inversion", {"id-dlib": 0.8, "mse": 0.0123})
    scores.add(key, edit, {"id-dlib": 0.7, "mse": 0.2, "attributes.smile": 1.98, "attributes.age": -0.31})
    facts = {"about": "about it", "of_edits": False}
    return {
        "count": 1,
        "reference": False,
        "metrics": {
            "id-dlib": {**facts, "better": "higher", "of_edits": True},
            "mse": {**facts, "better": "lower"},
            "attributes": {**facts, "better": "none"},
        },
        "edits": scores.table(),
        "worst": scores.worst_table(),
        "requirements": [
            {"require": "id>=0.9", "metric": "id-dlib", "edit": "inversion", "value": 0.8, "met": False},
        ],
        "failures": [{"key": f"{key}-{n}", "what": "run", "reason": f"no face {key}"} for n in range(failures)],
        "notes": ["a note"],
    }  # fmt: skip


def _report(key: str = "a", seen: int = 1, **more: Any) -> Report:
    shots = [Shot.of("source", GREY), Shot.of("inversion", GREY, {"id-dlib": 0.8, "mse": None})]
    return Report(_metrics(key, **more), [ReportRow(key, shots)], seen, "id-dlib")


def test_the_page_tells_figures_changes_failures_and_notes() -> None:
    page = _Page(render_report(_report(failures=2)))
    for told in ("id-dlib", "0.0123", "1.98", "−0.31", "no face a", "a note", "not met: id>=0.9", "2 pictures"):
        assert told in page.text, told
    assert "smile" in page.text
    assert page.text.index("Summary") < page.text.index("Faces, worst first") < page.text.index("Not judged")


def test_mse_of_an_edit_is_called_change() -> None:
    rows = re.findall(r"<tr.*?</tr>", render_report(_report()).decode(), re.DOTALL)
    tags = [re.sub(r"<.*?>|\s+", " ", row) for row in rows if "mse" in row]
    assert "lower is better" in tags[0]
    assert "change" in tags[1]
    assert "better" not in tags[1]


def test_one_file_without_scripts_or_anything_from_outside() -> None:
    page = _Page(render_report(_report()))
    assert "script" not in page.tags
    assert not page.handlers
    assert page.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "link" not in page.tags
    assert "url(" not in render_report(_report()).decode()


def test_hostile_names_are_shown_and_harmless() -> None:
    report = _report(EVIL, failures=1, edit=EVIL)
    page = _Page(render_report(report))
    assert "script" not in page.tags
    assert not page.handlers
    assert page.tags.count("img") == 2
    assert EVIL in page.text


def test_names_that_are_no_text_do_not_break_the_page() -> None:
    assert "a\\udcff" in render_report(_report("a\udcff")).decode()


def test_a_cut_list_says_so() -> None:
    assert "The 1 worst of 10000" in _Page(render_report(_report(seen=10000))).text
    assert "are shown" not in _Page(render_report(_report())).text
    assert "The first 500 of 700" in " ".join(_Page(render_report(_report(failures=700))).text.split())


def test_worst_rows_keeps_the_worst_in_order_and_makes_no_more_than_it_must() -> None:
    made = []

    def row(key: str) -> ReportRow:
        made.append(key)
        return ReportRow(key, ())

    rows = WorstRows(limit=3)
    for key, goodness in [("e", 0.1), ("a", 0.5), ("b", math.nan), ("c", 0.9), ("d", 0.3), ("f", 0.95)]:
        rows.offer(goodness, key, lambda key=key: row(key))
    assert [kept.key for kept in rows.rows()] == ["b", "e", "d"]
    assert made == ["e", "a", "b", "d"]
    assert rows.seen == 6


def test_ties_go_by_name() -> None:
    rows = WorstRows()
    for key in "cab":
        rows.offer(0.5, key, lambda key=key: ReportRow(key, ()))
    assert [kept.key for kept in rows.rows()] == ["a", "b", "c"]
    assert ROWS >= 100


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.01234, "0.01234"), (12.345, "12.35"), (-0.5, "−0.5"), (1e-7, "1e-07"), (0, "0")]
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert number(value) == text
