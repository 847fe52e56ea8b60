"""A contact sheet: faces side by side in one picture, with typeset labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.images.pixels import resize_u8
from pipelines.types import U8Image

_PAPER, _INK, _FAINT, _EMPTY = (250, 250, 248), (28, 28, 30), (120, 120, 125), (236, 236, 233)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[U8Image | None]]], column_labels: Sequence[str], cell: int = 256
) -> U8Image:
    """Lay pictures out in a grid, a label above every column and below every row.

    Args:
        rows: (label, pictures) each; pictures uint8 H x W x 3, RGB, square, of any size, left to right. A None, or a
            row with too few, leaves an empty cell. The label's first line is dark, further lines are lighter.
        column_labels: one per column; a label that does not fit is cut with an ellipsis.
        cell: side of a picture in the sheet, px; at least 32.

    Returns:
        uint8 H x W x 3, RGB.

    Raises:
        ValueError: no row or column, a cell below 32 px, or a row with more pictures than columns.
    """
    columns = len(column_labels)
    if not rows or not columns or cell < 32:
        raise ValueError("a contact sheet needs a row, a column and cells of at least 32 px")
    if any(len(pictures) > columns for _, pictures in rows):
        raise ValueError(f"a row has more pictures than the {columns} columns")
    layout = _Layout(cell, [len(_lines(label)) for label, _ in rows], columns)
    sheet = Image.new("RGB", (layout.width, layout.height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        _centred(draw, _lines(label)[0] if label else "", layout.left(column), layout.margin, layout)
    for row, (label, pictures) in enumerate(rows):
        for column in range(columns):
            picture = pictures[column] if column < len(pictures) else None
            _place(sheet, draw, picture, layout.left(column), layout.tops[row], cell)
        _caption(draw, label, layout, row)
    return np.array(sheet)


class _Layout:
    """Where everything lies; all in proportion to the cell."""

    def __init__(self, cell: int, label_lines: Sequence[int], columns: int) -> None:
        self.cell = cell
        self.columns = columns
        self.margin = max(6, cell // 12)
        self.gap = max(2, cell // 42)
        self.text = max(9, cell // 14)
        self.line = math.ceil(self.text * 1.35)
        self.width = 2 * self.margin + columns * cell + (columns - 1) * self.gap
        self.tops: list[int] = []
        top = self.margin + self.line + self.gap
        for lines in label_lines:
            self.tops.append(top)
            top += cell + self.gap + lines * self.line + self.margin // 2
        self.height = top + self.margin // 2
        self.font: _Font = ImageFont.load_default(self.text)
        self.small: _Font = ImageFont.load_default(max(8, round(self.text * 0.85)))

    def left(self, column: int) -> int:
        return self.margin + column * (self.cell + self.gap)


def _place(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: U8Image | None, left: int, top: int, cell: int
) -> None:
    if picture is None:
        draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=_EMPTY)
    else:
        sheet.paste(Image.fromarray(resize_u8(picture, cell, cell)), (left, top))


def _caption(draw: ImageDraw.ImageDraw, label: str, layout: _Layout, row: int) -> None:
    """The row's label, left, below its pictures."""
    top = layout.tops[row] + layout.cell + layout.gap
    room = layout.width - 2 * layout.margin
    for number, line in enumerate(_lines(label)):
        font, colour = (layout.font, _INK) if number == 0 else (layout.small, _FAINT)
        draw.text((layout.margin, top + number * layout.line), _fitted(draw, line, font, room), font=font, fill=colour)


def _centred(draw: ImageDraw.ImageDraw, label: str, left: int, top: int, layout: _Layout) -> None:
    text = _fitted(draw, label, layout.font, layout.cell)
    start = left + (layout.cell - draw.textlength(text, font=layout.font)) / 2
    draw.text((start, top), text, font=layout.font, fill=_INK)


def _lines(label: str) -> list[str]:
    """The label's lines; characters that cannot be drawn (controls, broken names) are shown escaped."""
    return [
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for line in label.split("\n")
        if label
    ]


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: _Font, room: float) -> str:
    """The text, cut with an ellipsis where it is wider than `room` px; a file's name shows its end, which differs."""
    if draw.textlength(text, font=font) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = draw.textlength("…" + text[-middle:], font=font) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return "…" + text[-low:] if low else "…"
