"""Where the manifest of results lies that were packed into tar archives: `evaluate` then reads them member by member."""

from __future__ import annotations

from pathlib import Path

from pipelines.engine.output.shards import Archives
from pipelines.errors import UsageError
from pipelines.records.manifest import has_manifest


def run_folder(run: Path) -> Path:
    """The folder with the manifest that RUN means: itself, or ``out.run`` beside the archives that a run wrote.

    Args:
        run: a folder (of a run, or with one run's archives in it), ``out-{000..}.tar`` as the run was told, or one of
            its archives, which stands for all of them.

    Raises:
        UsageError: the folder of the run that wrote the archive is not there.
    """
    if run.is_dir():
        beside = [] if has_manifest(run) else [folder for folder in run.glob("*.run") if has_manifest(folder)]
        return beside[0] if len(beside) == 1 else run
    if run.suffix.lower() != ".tar":
        return run
    numbered = run.with_name(run.stem.rstrip("0123456789") + "{0..}.tar")
    for archives in (run, numbered):
        folder = Archives.parse(str(archives), None).folder()
        if has_manifest(folder):
            return folder
    raise UsageError(
        f"'{run}' cannot be evaluated without the manifest of the run that wrote it, in '{folder}'; "
        "put that folder beside it, or run again with a folder as -o"
    )
