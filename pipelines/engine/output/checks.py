"""Refuses outputs that would destroy or re-read the input, and clears up after a killed run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.records.manifest import has_manifest
from pipelines.records.photos import Photo
from pipelines.records.run_lock import LOCK
from pipelines.storage.remote import is_url
from pipelines.types import Failure

_OWN = "own-input"
_HALF_WRITTEN = re.compile(r".*\.[0-9a-f]{12}\.part", re.DOTALL)


def check_places(sources: Iterable[Path], output: Path, photos: Iterable[Photo], tops: frozenset[str] | None) -> None:
    """Raises UsageError where `output` is an input folder itself, or where a run would write over a photo.

    Args:
        sources: the inputs as given.
        output: the run's folder.
        photos: what will be read.
        tops: names of the folders that the run fills inside `output`; None: it writes keys at the top (`align`).
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"the output '{output}' is a file; give a folder")
    target = Path(os.path.realpath(output))
    for source in sources:
        real = Path(os.path.realpath(source))
        if source.is_dir() and target == real:
            raise UsageError(f"the output '{output}' is the input '{source}' itself; choose another folder with -o")
        if source.is_dir() and target.suffix == ".run" and target.is_relative_to(real):  # archives: input the next time
            raise UsageError(f"archives for '{output}' would lie in their input '{source}'; choose a place outside it")
    for photo in without_own(photos, output, tops):
        if photo.trouble is not None and photo.trouble.code == _OWN:
            raise UsageError(photo.trouble.message)


class OwnInput:
    """Tells which photos a run would write over.

    Args:
        output: the run's folder.
        tops: as of `check_places`.
    """

    def __init__(self, output: Path, tops: frozenset[str] | None) -> None:
        self._prefix = os.path.join(os.path.realpath(output), "")
        self._tops = tops
        self._last: tuple[str, str] = ("", "")  # a folder and what it really is: there may be 100,000 photos in it

    def spoilt(self, photo: Photo) -> bool:
        """Whether the photo lies where the run writes."""
        path = photo.path
        if "://" in path and is_url(path):
            return False
        if photo.linked and os.path.islink(path):
            path = os.path.realpath(path)
        cut = path.rfind(os.sep) + 1
        last = self._last  # one look: another thread may put its own there
        if last[0] != path[:cut]:
            last = self._last = path[:cut], os.path.join(os.path.realpath(path[:cut]), "")
        if not last[1].startswith(self._prefix):
            return False
        return self._tops is None or (last[1] + path[cut:])[len(self._prefix) :].split(os.sep)[0] in self._tops


def without_own(photos: Iterable[Photo], output: Path, tops: frozenset[str] | None) -> Iterator[Photo]:
    """The photos; those that the run would write over become failing ones. Arguments as of `check_places`."""
    own = OwnInput(output, tops)
    for photo in photos:
        if own.spoilt(photo):
            message = f"the run would write over its own input '{photo.path}'; choose another folder with -o"
            photo = replace(photo, trouble=Failure("list", _OWN, message))
        yield photo


def refuse_foreign_files(output: Path, planned: Iterable[str]) -> None:
    """Raises UsageError where a planned file exists in a folder that no run of this tool has written."""
    if not output.is_dir() or has_manifest(output) or (output / LOCK).exists():
        return
    with os.scandir(output) as there:
        if next(there, None) is None:  # nothing can be in the way, so nobody need know all that is planned
            return
    for relative in planned:
        if (output / relative).exists():
            raise UsageError(f"'{output / relative}' is in the way and was not written by a run; choose another folder")


def remove_half_written(output: Path) -> None:
    """Removes the `.part` files that a killed run left. The caller must be the folder's only run."""
    for folder, _, names in os.walk(output):
        for name in names:
            if _HALF_WRITTEN.fullmatch(name):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))
