"""Refuses outputs that would destroy or re-read the input, and clears up after a killed run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipelines.engine.lock import LOCK
from pipelines.engine.source import Photo
from pipelines.errors import UsageError
from pipelines.manifest import has_manifest

_HALF_WRITTEN = re.compile(r".*\.[0-9a-f]{12}\.part", re.DOTALL)


def check_places(source: Path, output: Path, photos: Iterable[Photo], tops: frozenset[str] | None) -> None:
    """Raises UsageError where `output` lies in the input folder, or where a run would write over a photo.

    Args:
        source: INPUT as given.
        output: the run's folder.
        photos: what will be read.
        tops: names of the folders that the run fills inside `output`; None: it writes keys at the top (`align`).
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"the output '{output}' is a file; give a folder")
    target = Path(os.path.realpath(output))
    if str(source) != "-" and source.is_dir() and target.is_relative_to(os.path.realpath(source)):
        raise UsageError(f"the output '{output}' lies inside the input '{source}'; choose a folder outside it with -o")
    prefix = os.path.join(target, "")
    folders: dict[str, str] = {}  # resolved once each: there may be 100,000 photos
    for photo in photos:
        folder, name = os.path.split(os.path.realpath(photo.path) if os.path.islink(photo.path) else photo.path)
        if folder not in folders:
            folders[folder] = os.path.join(os.path.realpath(folder), "")
        real = folders[folder] + name
        if real.startswith(prefix) and (tops is None or real[len(prefix) :].split(os.sep)[0] in tops):
            raise UsageError(f"the run would write over its own input '{photo.path}'; choose another folder with -o")


def refuse_foreign_files(output: Path, planned: Iterable[str]) -> None:
    """Raises UsageError where a planned file exists in a folder that no run of this tool has written."""
    if not output.is_dir() or has_manifest(output) or (output / LOCK).exists():
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
