"""Which picture is compared with which: a run's outputs with their sources or a reference folder, always by key."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pipelines.errors import NoInputError, PhotoError, UsageError
from pipelines.evaluation.places import Places
from pipelines.evaluation.written import CONTACT, FOLDER
from pipelines.images.pixels import IMAGE_SUFFIXES
from pipelines.records.manifest import MANIFEST, Record, has_manifest, read_manifest
from pipelines.records.outputs import ANIMATION, FACE, INVERSION, LATENTS, MASKS, PHOTOS
from pipelines.storage.names import tidy
from pipelines.storage.webdataset import Archives
from pipelines.types import Quad

RUN = "run"  # no kind of output: what a problem speaks of where the run itself failed


@dataclass(frozen=True)
class Problem:
    """A picture that could not be judged: its key, which picture of it, and why, in one sentence."""

    key: str
    what: str
    reason: str


@dataclass(frozen=True)
class Row:
    """One face: where its source and its results lie.

    Attributes:
        source: the photo, the crop, or the reference picture: a file, a URL, or ``ARCHIVE::MEMBER``.
        results: edit -> file, or ``ARCHIVE::MEMBER``.
        quad: the face's corners in the photo; None where the source is the crop itself.
        digest: sha256 that the source had when it was inverted; "" where nobody noted it.
        latents: the place of its codes; None where the run has none.
        masks: edit -> place of the picture that says where the edit is not the photo.
        run: the run's folder, near which the source is looked for where it is not found; None: nowhere else.
        returned: edit -> file of its picture after the opposite edit.
    """

    key: str
    source: str
    results: Mapping[str, str]
    quad: Quad | None = None
    digest: str = ""
    latents: str | None = None
    masks: Mapping[str, str] = field(default_factory=dict)
    run: Path | None = None
    returned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairing:
    """All rows, sorted by key, and what has no partner. `unused` counts reference pictures that no result has."""

    rows: list[Row]
    problems: list[Problem] = field(default_factory=list)
    unused: int = 0


def pair_run(run: Path, reference: Path | None) -> Pairing:
    """Pair the outputs in `run` (or, without a manifest, the pictures in it, taken as inversions).

    Args:
        run: a folder that `invert` or `edit` wrote, or with `reference` any folder of pictures.
        reference: compare with these pictures, by key, instead of the sources that the manifest names.

    Raises:
        UsageError: a folder is missing, has no manifest and no reference is given, or two pictures share a key.
        NoInputError: nothing to compare.
    """
    for folder in (run, reference) if reference else (run,):
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is not a folder; give the folder that a run wrote, or make one first")
    rows, problems = _of_manifest(run) if has_manifest(run) else _of_folder(run, reference)
    unused = 0
    if reference:
        rows, missing, unused = _with_reference(rows, reference)
        problems += missing
    if not rows:
        example = f", for example '{problems[0].key}': {problems[0].reason}" if problems else ""
        raise NoInputError(f"there is nothing to evaluate in '{run}'{example}")
    return Pairing(sorted(rows, key=lambda row: row.key), problems, unused)


def own_files(pairing: Pairing) -> set[Path]:
    """The pictures that are judged and what they are compared with, as far as they are files."""
    return {Path(place) for row in pairing.rows for place in (row.source, *row.results.values(), *row.masks.values())}


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


def _of_manifest(run: Path) -> tuple[list[Row], list[Problem]]:
    notes: list[str] = []
    places = Places(run)
    records = read_manifest(run, notes)
    rows, problems = [], [Problem("", MANIFEST, note) for note in notes]
    for record in records.values():
        if record.status == "failed":
            told = record.error
            reason = f"{told.message} ({told.stage}, {told.code})" if told else "failed without a reason"
            problems.append(Problem(record.key, RUN, reason))
        elif record.status == "ok":
            results, masks, latents, refused = _outputs(places, record)
            problems += refused
            if results:
                rows.append(Row(record.key, record.source, results, record.quad, record.digest, latents, masks, run))
    return rows, problems


def _outputs(places: Places, record: Record) -> tuple[dict[str, str], dict[str, str], str | None, list[Problem]]:
    """The record's face pictures, its masks, its codes, and what lies out of bounds.

    Photos with the face pasted back are not faces; a crop of `align` is what a reference is compared with where there is
    nothing else.
    """
    found: dict[str, str] = {}
    refused = []
    for kind, path in record.outputs.items():
        picture = Path(path).suffix.lower() in IMAGE_SUFFIXES and kind != ANIMATION and not kind.startswith(PHOTOS)
        if picture or kind == LATENTS:
            try:
                found[kind] = places.of(path)
            except PhotoError as error:
                refused.append(Problem(record.key, kind, error.message))
    latents, face = found.pop(LATENTS, None), found.pop(FACE, None)
    masks = {kind.removeprefix(MASKS): found.pop(kind) for kind in [*found] if kind.startswith(MASKS)}
    return found or ({INVERSION: face} if face else {}), masks, latents, refused


def _of_folder(run: Path, reference: Path | None) -> tuple[list[Row], list[Problem]]:
    if reference is None:
        raise UsageError(f"'{run}' has no manifest.jsonl, so its sources are not known; give --reference DIR")
    return [Row(key, str(path), {INVERSION: str(path)}) for key, path in _by_key(run).items()], []


def _with_reference(rows: list[Row], reference: Path) -> tuple[list[Row], list[Problem], int]:
    known = _by_key(reference)
    paired = [
        replace(row, source=str(known[row.key]), quad=None, digest="", run=None) for row in rows if row.key in known
    ]
    missing = [
        Problem(row.key, "source", f"'{reference}' has no picture called '{row.key}'")
        for row in rows
        if row.key not in known
    ]
    return paired, missing, len(known) - len(paired)


def _by_key(folder: Path) -> dict[str, Path]:
    """Every picture below a folder by its relative path without suffix."""
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        key = PurePosixPath(tidy(path.relative_to(folder).as_posix())).with_suffix("").as_posix()
        if key in found:
            raise UsageError(f"'{found[key]}' and '{path}' have one key, '{key}'; rename or remove one of them")
        found[key] = path
    return found


def _pictures(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            ours = path == folder / FOLDER / CONTACT  # an earlier evaluation of this very folder
            if not name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and not ours:
                yield path
