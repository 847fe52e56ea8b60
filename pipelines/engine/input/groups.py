"""Crops that `align --faces all` cut from one photo, brought together: they are pasted into it together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from pipelines.records.manifest import Record
from pipelines.records.outputs import FACE
from pipelines.records.photos import FURTHER, Origin, Photo, face_keys

Sibling = Callable[[Photo, str, Record], Photo | None]


def grouped(photos: Iterable[Photo], records: Mapping[str, Record], sibling: Sibling) -> Iterator[Photo]:
    """The photos; the crops of one photo follow its first, wherever they would come by themselves.

    Which crops belong together needs no memory: each one's own key and the records tell, so every part of a run over
    several processes or machines (which takes a group whole) comes to the same groups.

    Args:
        photos: with keys as in `records`.
        records: of the run that cut the crops.
        sibling: (a photo, the key of another of its group, that one's record) -> the other; None where it is gone.
    """
    last: tuple[str, tuple[Photo, ...]] = "", ()
    for photo in photos:
        base, faces = _base(photo, records)
        if faces < 2:
            yield photo
            continue
        if last[0] != base:
            last = base, tuple(_members(photo, base, faces, records, sibling))
        if len(last[1]) < 2:
            yield photo
        elif photo.key == last[1][0].key:
            yield from last[1]


def _base(photo: Photo, records: Mapping[str, Record]) -> tuple[str, int]:
    """The key of the photo's first face, and how many it had."""
    record = records.get(photo.key)
    if record is None or photo.origin is None:
        return photo.key, 1
    further = FURTHER.fullmatch(photo.key)
    first = records.get(further[1]) if further else None
    if first is not None and first.source == record.source:
        record = first
    return record.key, record.faces


def _members(photo: Photo, base: str, faces: int, records: Mapping[str, Record], sibling: Sibling) -> Iterator[Photo]:
    found = []
    for key in face_keys(base, faces):
        record = records.get(key)
        if key == photo.key:
            found.append(photo)
        elif record is not None and record.status == "ok" and (other := sibling(photo, key, record)) is not None:
            found.append(other)
    names = tuple((each.key, each.path) for each in found)
    return (replace(each, group=names) for each in found)


def sibling_crop(photo: Photo, key: str, record: Record) -> Photo | None:
    """The crop beside `photo`, as `align` named it."""
    name = record.outputs.get(FACE, "").rpartition("/")[2]
    path = os.path.join(os.path.dirname(photo.path), name)
    if not name or record.quad is None or not os.path.isfile(path):
        return None
    return replace(photo, key=key, path=path, origin=Origin(record.source, record.digest, record.quad))


def numbered(photos: Iterable[Photo]) -> Iterator[tuple[int, Photo]]:
    """Each photo with its place; the crops of one photo share it."""
    place = -1
    for photo in photos:
        place += not photo.follows
        yield place, photo


def is_last(photo: Photo) -> bool:
    """Whether no more crops of its photo follow."""
    return not photo.group or photo.group[-1][0] == photo.key
