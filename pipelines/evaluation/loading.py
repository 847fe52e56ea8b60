"""A row's pictures, read and decoded ahead of the scoring."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from pipelines.engine.reading.reader import read_source
from pipelines.errors import PhotoError
from pipelines.evaluation.kinds import LATENTS
from pipelines.evaluation.pairing import Problem, Row
from pipelines.images.geometry import crop_quad
from pipelines.images.pixels import decode
from pipelines.metrics.faces import Picture
from pipelines.records.latents import load_inversion
from pipelines.types import U8Image

_SQUARE = 0.01  # `align` takes a crop for square within this share of its side
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class LoadedRow:
    """A row's pictures; `source` is None where it cannot be used, and then there are no results either.

    Attributes:
        codes: L x 512; None where they were not asked for or cannot be read.
    """

    row: Row
    source: Picture | None = None
    results: dict[str, Picture] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    codes: Tensor | None = None


def read_ahead(work: Callable[[T], R], values: Iterable[T], workers: int, ahead: int) -> Iterator[R]:
    """`work(value)` for every value, in order, computed by threads; at most `ahead` results wait to be taken."""
    waiting: deque[Future[R]] = deque()
    rest = iter(values)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            waiting.extend(pool.submit(work, value) for value in islice(rest, ahead))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, value) for value in islice(rest, 1))
        finally:
            for future in waiting:
                future.cancel()


def load_row(row: Row, codes: bool = False) -> LoadedRow:
    """Read and decode a row's pictures (with `codes` its codes too); every trouble becomes a `Problem`, never an
    exception."""
    problems: list[Problem] = []
    found = _codes(row, problems) if codes else None
    results: dict[str, Picture] = {}
    size = 0
    for edit, path in row.results.items():
        try:
            image = _square(decode(read_source(str(path))), path)
            size = size or len(image)
            results[edit] = Picture.of(image)
        except PhotoError as error:
            problems.append(Problem(row.key, edit, _told(path, error)))
    if not results:
        return LoadedRow(row, problems=problems)
    try:
        return LoadedRow(row, Picture.of(_source(row, size)), results, problems, found)
    except PhotoError as error:
        return LoadedRow(row, problems=[*problems, Problem(row.key, "source", _told(row.source, error))])


def _codes(row: Row, problems: list[Problem]) -> Tensor | None:
    """The row's codes L x 512, float32; None, and one more problem, where there are none."""
    if row.latents is None:
        problems.append(Problem(row.key, LATENTS, "the run stored no codes of this face"))
        return None
    try:
        return load_inversion(read_source(str(row.latents)))[0].latents[0]
    except PhotoError as error:
        problems.append(Problem(row.key, LATENTS, _told(row.latents, error)))
        return None


def _told(path: Path, error: PhotoError) -> str:
    return error.message if str(path) in error.message else f"'{path}': {error.message}"


def _source(row: Row, size: int) -> U8Image:
    """The source face, cut out of its photo as the run cut it (`size` px) where it is a part of one."""
    data = read_source(str(row.source))
    if row.digest and hashlib.sha256(data).hexdigest() != row.digest:
        raise PhotoError("changed", f"'{row.source}' has changed since the run; run again, or give --reference")
    photo = decode(data)
    if row.quad is None:
        return _square(photo, row.source)
    try:
        return crop_quad(photo, row.quad, size)
    except ValueError as error:
        raise PhotoError("bad-quad", f"the manifest's corners do not fit '{row.source}' ({error})") from None


def _square(image: U8Image, path: Path) -> U8Image:
    height, width = image.shape[:2]
    if abs(height - width) > _SQUARE * max(height, width):
        raise PhotoError("not-square", f"'{path}' is {width} x {height} px, not a square face crop; align it first")
    return image
