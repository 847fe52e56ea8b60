"""The photos in tar archives."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from pipelines.engine.input.keys import SIDE_REASON, LeftOut, is_side
from pipelines.errors import UsageError
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.records.photos import Photo
from pipelines.storage.names import split_key, tidy
from pipelines.storage.remote import is_url
from pipelines.storage.tar_index import SEPARATOR, Member, Scan, last_of_each
from pipelines.types import Failure

# Members of an archive that are known before its first photo goes on. A remote one costs a request for each of them.
HELD, HELD_REMOTE = 10_000, 100


def archives(paths: Sequence[str], left_out: LeftOut) -> Iterator[Photo]:
    """Members of archives one after the other; below the archive's own name where there are several."""
    for path in paths:
        prefix = split_key(posixpath.basename(path))[0] + "/" if len(paths) > 1 else ""
        yield from members(path, prefix, left_out)


def members(path: str, prefix: str, left_out: LeftOut) -> Iterator[Photo]:
    """The pictures of one archive: a small one's sorted by key, those of a larger one as they lie in it.

    Which of several members with one name counts is known of a small archive: the last, as `tar` unpacks them. Of a
    larger one all come, for `engine.input.keys` to tell apart. What is missing of an archive that is cut off becomes
    one failing photo, with the archive's name as its key; so does an archive that cannot be opened.

    Args:
        path: of the archive, local or a URL.
        prefix: put before the members' names; "" or ends in ``/``.
        left_out: is told of members that cannot be used.
    """
    whole = f"{prefix[:-1]}.tar" if prefix else posixpath.basename(path)
    most = HELD_REMOTE if is_url(path) else HELD
    scan = Scan(path, left_out.add)
    found = iter(scan)
    try:
        held = list(islice(found, most + 1))
    except UsageError as error:
        yield Photo(whole, path, trouble=Failure("list", "unreadable", str(error)))
        return
    if len(held) <= most:
        photos = [*_pictures(last_of_each(held), path, prefix, left_out), *_missing(scan, whole, path)]
        yield from sorted(photos, key=lambda photo: (photo.key, photo.path))
    else:
        yield from _pictures(chain(held, found), path, prefix, left_out)
        yield from _missing(scan, whole, path)


def _pictures(found: Iterable[Member], path: str, prefix: str, left_out: LeftOut) -> Iterator[Photo]:
    for member in found:
        key, suffix = split_key(member.name)
        if suffix.lower() not in IMAGE_SUFFIXES or posixpath.basename(key).startswith("."):
            continue
        if any(map(is_side, key.split("/"))):
            left_out.add(SIDE_REASON, member.name)
        else:
            yield Photo(prefix + tidy(key), path + SEPARATOR + member.name, span=(member.offset, member.size))


def _missing(scan: Scan, key: str, path: str) -> Iterator[Photo]:
    """A photo that says what is missing of an archive; none where it is whole."""
    if scan.torn:
        message = f"'{path}': {scan.torn}; {scan.count} members before that are used; copy it again"
        yield Photo(key, path, trouble=Failure("decode", "truncated", message))
