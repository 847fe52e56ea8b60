"""Where the files lie that a manifest names. A manifest may come from anywhere, so its outputs are taken from the run's own
folder (or the archives beside it) and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.errors import PhotoError
from pipelines.storage.remote import is_url
from pipelines.storage.tar_index import SEPARATOR

_UNNAMED = "shards"  # the run's folder of archives that are called by a number alone
_UP = 2  # folders above the run in which a moved project's sources are looked for


class Places:
    """The files of one run.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._root = run.resolve()
        self._folders: dict[str, Path] = {}

    def of(self, output: str) -> str:
        """The place of an output of the manifest: a file, or ``ARCHIVE::MEMBER``.

        Raises:
            PhotoError: ``elsewhere``: it is not the run's own (links out of the folder included), or not on this machine.
        """
        if is_url(output):
            raise PhotoError("elsewhere", f"'{output}' was uploaded; evaluate a local copy of the run's folder")
        archive, inside, member = output.partition(SEPARATOR)
        try:
            place = self._resolved(archive)
            own = self._is_archive(place) if inside else place.is_relative_to(self._root)
        except (OSError, ValueError, RuntimeError):  # a zero byte, broken text, links in a circle
            own = False
        if not own:
            raise PhotoError("elsewhere", f"the manifest names {output!r}, which is not in the run's folder: not read")
        return str(self._run / archive) + inside + member

    def _resolved(self, path: str) -> Path:
        """Without links and ``..``; each folder is asked for once, as 100,000 files lie in a few."""
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or "\0" in name:
            raise ValueError("not a file's name")
        if folder not in self._folders:
            self._folders[folder] = (self._root / folder).resolve()
        place = self._folders[folder] / name
        return place.resolve() if place.is_symlink() else place

    def _is_archive(self, place: Path) -> bool:
        name = self._root.name.removesuffix(".run")
        named = name == _UNNAMED or place.name.startswith(name)
        return place.parent == self._root.parent and place.suffix.lower() == ".tar" and named


def beside(run: Path, source: str) -> list[Path]:
    """Files near a run that may be a recorded source, if the project's folder was moved as a whole: those whose path ends
    as the source's does, the longest such end first."""
    if is_url(source) or SEPARATOR in source:
        return []
    root, parts = run.resolve(), Path(source).parts[1:]
    return [base.joinpath(*parts[start:]) for start in range(len(parts)) for base in list(root.parents)[:_UP]]
