"""Photos whose keys do not go with `--name`: told before the run where all are known, else photo by photo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipelines.engine.input.streaming import StreamedPhotos
from pipelines.errors import UsageError
from pipelines.records.manifest import PARTS
from pipelines.records.names import NameTemplate
from pipelines.records.outputs import FOLDERS
from pipelines.records.photos import Photo
from pipelines.types import Failure


def refuse_shared_stems(photos: StreamedPhotos, text: str) -> None:
    """Raises UsageError where two photos share a stem, or where that cannot be known before the run."""
    if not photos.whole:
        raise UsageError(
            f"--name '{text}' needs to know all photos before the run; use {{key}}, or {{folder}}/{{stem}}"
        )
    seen: dict[str, str] = {}
    for photo in photos:
        stem = photo.key.rpartition("/")[2]
        if stem in seen:
            raise UsageError(
                f"--name '{text}' gives '{seen[stem]}' and '{photo.key}' one name; use {{key}}, or {{folder}}/{{stem}}"
            )
        seen[stem] = photo.key


def without_reserved(photos: Iterable[Photo], template: NameTemplate) -> Iterator[Photo]:
    """The photos; those whose pictures would lie among a run's other outputs become failing ones."""
    for photo in photos:
        top, slash, _ = template.name(photo.key, "edit").partition("/")
        if slash and (top in FOLDERS or top == PARTS):
            message = (
                f"--name '{template.text}' puts '{photo.key}' into the run's own folder '{top}'; use another template"
            )
            photo = replace(photo, trouble=photo.trouble or Failure("list", "reserved-name", message))
        yield photo
