"""The photos in a tar archive."""

from __future__ import annotations

import posixpath

from pipelines.decode import IMAGE_SUFFIXES
from pipelines.engine.photos import Photo, split_key
from pipelines.engine.tarball import SEPARATOR, read_index
from pipelines.types import Failure


def members(path: str, prefix: str) -> tuple[list[Photo], tuple[str, ...]]:
    """The pictures of one archive, sorted by key, and a sentence for each thing that was left out.

    What is missing of an archive that is cut off becomes one failing photo, with the archive's name as its key.

    Args:
        path: of the archive, local or a URL.
        prefix: put before the members' names; "" or ends in ``/``.

    Raises:
        UsageError: as `read_index`.
    """
    index = read_index(path)
    photos = []
    for member in index.members:
        key, suffix = split_key(member.name)
        if suffix.lower() in IMAGE_SUFFIXES and not posixpath.basename(key).startswith("."):
            photos.append(Photo(prefix + key, path + SEPARATOR + member.name, span=(member.offset, member.size)))
    if index.torn:
        message = f"'{path}': {index.torn}; {len(index.members)} members before that are used; copy it again"
        trouble = Failure("decode", "truncated", message)
        photos.append(Photo(f"{prefix[:-1]}.tar" if prefix else posixpath.basename(path), path, trouble=trouble))
    photos.sort(key=lambda photo: photo.key)
    return photos, index.refused
