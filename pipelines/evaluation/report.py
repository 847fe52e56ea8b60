"""`report.html`: one file that shows what a run did, worst first, without scripts and without anything from outside."""

from __future__ import annotations

import base64
import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from pipelines.images.pixels import encode, resize_u8
from pipelines.types import U8Image

ROWS = 200  # faces shown; about 6 KB a picture, so that a browser opens the file at once
PROBLEMS = 500  # failures listed one by one
DETAILS = 40  # faces with details, about 25 KB each
DETAIL = 256  # px
_THUMBNAIL = 192  # px; shown at up to 168, so that it is sharp on dense screens too


@dataclass(frozen=True)
class Shot:
    """One picture of a row: what it shows, a JPEG thumbnail, its values (metric -> value, None: not measured), and
    a JPEG of the whole picture where the page is to hold it."""

    label: str
    jpeg: bytes
    values: Mapping[str, float | None] = field(default_factory=dict)
    full: bytes = b""

    @classmethod
    def of(cls, label: str, image: U8Image, values: Mapping[str, float | None] | None = None) -> Shot:
        """From a square uint8 picture."""
        small = resize_u8(image, _THUMBNAIL, _THUMBNAIL)
        return cls(label, encode(small, "jpg", 82), values or {})

    @property
    def uri(self) -> str:
        return _uri(self.jpeg)

    @property
    def full_uri(self) -> str:
        """Of the whole picture; "" where the page does not hold it."""
        return _uri(self.full) if self.full else ""


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


@dataclass(frozen=True)
class Detail:
    """The same square of source and edit, pixel for pixel, where the edit is."""

    label: str
    source: Shot
    edit: Shot

    @classmethod
    def of(cls, label: str, source: U8Image, edit: U8Image, mask: U8Image | None = None) -> Detail:
        """From square uint8 pictures; without a mask, the square in which most changed of the picture's middle."""
        if len(source) != len(edit):
            source = resize_u8(source, len(edit), len(edit))
        top, left = _busiest(source, edit, mask)
        cuts = [image[top : top + DETAIL, left : left + DETAIL] for image in (source, edit)]
        return cls(
            label, *(Shot(name, encode(cut, "jpg", 88)) for name, cut in zip(("source", label), cuts, strict=True))
        )


@dataclass(frozen=True)
class ReportRow:
    """One face: source first, then the inversion and the edits; and a detail of each edit."""

    key: str
    shots: Sequence[Shot]
    details: Sequence[Detail] = ()


class WorstRows:
    """Keeps the `limit` worst rows; a row's thumbnails are made only if it stays, so memory does not grow.

    Goodness is a number, higher is better; NaN (nothing could be measured) is worse than any.
    """

    def __init__(self, limit: int = ROWS) -> None:
        self.seen = 0
        self._limit = limit
        self._heap: list[tuple[float, str, ReportRow]] = []  # badness first: the least bad on top

    def offer(self, goodness: float, key: str, make: Callable[[], ReportRow]) -> None:
        """Keep what `make` returns if the row is among the worst so far."""
        self.seen += 1
        entry = (math.inf if math.isnan(goodness) else -goodness, key)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, (*entry, make()))
        elif entry > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*entry, make()))

    def rows(self) -> list[ReportRow]:
        """The rows, the worst first; equals by key."""
        return [row for _, _, row in sorted(self._heap, key=lambda entry: (-entry[0], entry[1]))]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        metrics: the object of `metrics.json`.
        rows: faces, the worst first.
        seen: how many faces there were; more than `rows` says so on the page.
        headline: metric that the rows are sorted by, or "".
    """

    metrics: Mapping[str, Any]
    rows: Sequence[ReportRow]
    seen: int
    headline: str


def render_report(report: Report) -> bytes:
    """The page, UTF-8. Names from the disk are escaped, also such as are not valid text."""
    metrics = report.metrics
    return render_page(
        "report.html.j2",
        metrics=metrics,
        rows=report.rows,
        details=DETAILS,
        seen=report.seen,
        headline=report.headline,
        tables=[(edit, _flat(figures)) for edit, figures in metrics["edits"].items()],
        changes=_changes(metrics["edits"]),
        problems=metrics["failures"][:PROBLEMS],
    )


def render_page(template: str, **values: Any) -> bytes:
    """A page of `templates/`, UTF-8, every text escaped and every unprintable character shown as an escape."""
    templates = resources.files("pipelines.evaluation").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: templates.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(**values).encode("utf-8", errors="backslashreplace")


def number(value: float | None) -> str:
    """A figure for a person: four significant digits; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return text.replace("-", "−", 1) if "e" not in text else text


def shown(value: Any) -> Any:
    """Texts with what cannot be printed (controls, broken text, marks of writing direction) escaped, as names from the
    disk may hold; anything else as it is."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)


def _busiest(source: U8Image, edit: U8Image, mask: U8Image | None) -> tuple[int, int]:
    """Top and left of the detail: around the mask's middle, else where most changed of the picture's inner half."""
    side, cells = len(edit), 32
    if mask is not None:
        weight = resize_u8(mask, cells, cells).astype(np.float64).sum(axis=2)
    else:
        small = [resize_u8(image, cells, cells).astype(np.float64) for image in (source, edit)]
        weight = np.zeros((cells, cells))
        inner = slice(cells // 4, cells * 3 // 4)
        weight[inner, inner] = np.square(small[0] - small[1]).sum(axis=2)[inner, inner]
    total = weight.sum()
    steps = (np.arange(cells) + 0.5) * side / cells
    middle = [(weight.sum(axis=axis) * steps).sum() / total if total else side / 2 for axis in (1, 0)]
    top, left = (int(min(max(0, at - DETAIL / 2), max(0, side - DETAIL))) for at in middle)
    return top, left


def _flat(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The plain metrics of an edit; nested ones have a table of their own."""
    return [(name, value) for name, value in figures.items() if "n" in value]


def _changes(edits: Mapping[str, Any]) -> dict[str, Any]:
    """{"names": attributes, "rows": [(edit, figures per attribute)]} of the `attributes` metric; empty without it."""
    measured = {edit: figures["attributes"] for edit, figures in edits.items() if "attributes" in figures}
    names = list(dict.fromkeys(name for figures in measured.values() for name in figures))
    return {"names": names, "rows": list(measured.items())} if names else {}
