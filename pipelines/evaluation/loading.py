"""A row's pictures, read and decoded ahead of the scoring."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from pipelines.errors import PhotoError
from pipelines.evaluation.pairing import Problem, Row
from pipelines.evaluation.places import beside
from pipelines.evaluation.written import RETURNS
from pipelines.images.geometry import crop_quad
from pipelines.images.pixels import decode, read_photo
from pipelines.metrics.faces import Picture
from pipelines.records.latents import load_inversion
from pipelines.records.outputs import LATENTS, MASKS
from pipelines.storage.open import read_source
from pipelines.storage.remote import is_url
from pipelines.types import Inversion, U8Image

FAR = 10  # sizes of the photo; corners further off are nonsense, and would take any amount of memory
_SQUARE = 0.01  # `align` takes a crop for square within this share of its side
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class LoadedRow:
    """A row's pictures; `source` is None where it cannot be used, and then there are no results either.

    Attributes:
        codes: one face's, its own generator weights with them; None where they were not asked for or cannot be read.
        masks: edit -> where it is not the photo, uint8; only of those that were asked for and can be read.
        returned: edit -> its picture after the opposite edit, of those that are there.
    """

    row: Row
    source: Picture | None = None
    results: dict[str, Picture] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    codes: Inversion | None = None
    masks: dict[str, U8Image] = field(default_factory=dict)
    returned: dict[str, Picture] = field(default_factory=dict)


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


def load_row(row: Row, codes: bool = False, masks: bool = False, offline: bool = False) -> LoadedRow:
    """Read and decode a row's pictures (and its codes and masks); every trouble becomes a `Problem`, never an exception.

    Args:
        offline: a source behind a URL is not read.
    """
    problems: list[Problem] = []

    def tried(what: str, path: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (PhotoError, ValueError, OverflowError) as error:  # ValueError: a zero byte, text that is no text
            problems.append(Problem(row.key, what, _told(path, error)))
            return None

    found = tried(LATENTS, str(row.latents), partial(_codes, row)) if codes else None
    pictures = {edit: tried(edit, path, partial(_face, path)) for edit, path in row.results.items()}
    results = {edit: image for edit, image in pictures.items() if image is not None}
    size = len(next(iter(results.values()), ()))
    source = tried("source", row.source, partial(_source, row, size, offline)) if results else None
    if source is None:
        return LoadedRow(row, problems=problems)
    back = {edit: tried(f"{RETURNS} of {edit}", path, partial(_face, path)) for edit, path in row.returned.items()}
    shown = {edit: tried(MASKS + edit, path, partial(_face, path)) for edit, path in row.masks.items()} if masks else {}
    return LoadedRow(
        row,
        Picture.of(source),
        {edit: Picture.of(image) for edit, image in results.items()},
        problems,
        found,
        {edit: mask for edit, mask in shown.items() if mask is not None},
        {edit: Picture.of(image) for edit, image in back.items() if image is not None and edit in results},
    )


def _codes(row: Row) -> Inversion:
    """The row's codes; residuals, which no metric of codes looks at, are left out, as they are large."""
    if row.latents is None:
        raise PhotoError("no-codes", "the run stored no codes of this face")
    found, _ = load_inversion(read_source(row.latents))
    return Inversion(found.latents, deltas=found.deltas)


def _told(path: str, error: Exception) -> str:
    message = error.message if isinstance(error, PhotoError) else f"cannot be read ({error})"
    return message if path in message or path == "None" else f"'{path}': {message}"


def _face(path: str) -> U8Image:
    return _square(decode(read_source(path)), path)


def _source(row: Row, size: int, offline: bool) -> U8Image:
    """The source face, cut out of its photo as the run cut it (`size` px) where it is a part of one."""
    photo = decode(_source_bytes(row, offline))
    if row.quad is None:
        return _square(photo, row.source)
    if not np.abs(np.asarray(row.quad)).max() <= FAR * max(photo.shape):  # NaN fails, too
        raise PhotoError("bad-quad", f"the manifest's corners do not fit '{row.source}'; run again")
    try:
        return crop_quad(photo, row.quad, size)
    except ValueError as error:
        raise PhotoError("bad-quad", f"the manifest's corners do not fit '{row.source}' ({error})") from None


def _source_bytes(row: Row, offline: bool) -> bytes:
    """The source as the run saw it, from where the manifest says or, if the project has moved, from near the run."""
    if offline and is_url(row.source):
        raise PhotoError("offline", f"'{row.source}' is not fetched offline; give --reference FOLDER")
    try:
        data = read_source(row.source)
        if _is_the_same(row, data):
            return data
        trouble = PhotoError("changed", f"'{row.source}' has changed since the run; run again, or give --reference")
    except PhotoError as error:
        trouble = PhotoError(error.code, f"{error.message.partition(';')[0]}; give its folder by --reference")
    for path in beside(row.run, row.source) if row.run and row.digest else ():
        if path.is_file() and _is_the_same(row, data := read_photo(path)):
            return data
    raise trouble


def _is_the_same(row: Row, data: bytes) -> bool:
    return not row.digest or hashlib.sha256(data).hexdigest() == row.digest


def _square(image: U8Image, path: str) -> U8Image:
    height, width = image.shape[:2]
    if abs(height - width) > _SQUARE * max(height, width):
        raise PhotoError("not-square", f"'{path}' is {width} x {height} px, not a square face crop; align it first")
    return image
