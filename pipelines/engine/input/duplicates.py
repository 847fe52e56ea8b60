"""Photos that would write the same files, in an input that comes in no order: what was met is remembered by its hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b

from pipelines.engine.types import FURTHER, Photo, split_key
from pipelines.types import Failure


def apart(photos: Iterable[Photo], faces_all: bool, strict: bool) -> Iterator[Photo]:
    """The photos: one that is named again only once, one whose key is taken already as a failing one.

    Needs some 150 bytes for each photo: without an order, only a memory of all keys can tell.

    Args:
        photos: in any order.
        faces_all: every photo may give several items `KEY.n`, so such a key must not be a photo's own.
        strict: leave photos that share a key to the caller.
    """
    met: dict[int, int] = {}  # key -> which photo has it
    claimed: set[int] = set()  # keys of which a further face's name was met
    for photo in photos:
        if photo.trouble is not None:
            yield photo
            continue
        key, itself = _number(photo.key), _number(f"{photo.path}\0{photo.span}")
        if met.get(key) == itself:
            continue
        taken = "" if strict else _taken(photo.key, key, met, claimed, faces_all)
        if not taken:
            met.setdefault(key, itself)
        yield failing(photo, taken) if taken else photo


def _taken(name: str, key: int, met: Mapping[int, int], claimed: set[int], faces_all: bool) -> str:
    """Why a photo cannot have its key, or ""."""
    if key in met:
        return f"would write '{name}', as a photo before it does; rename or remove one of them"
    if not faces_all:
        return ""
    if key in claimed:
        return f"has further faces that get the name of a photo before it ('{name}.1', ...); rename one of them"
    base = FURTHER.fullmatch(name)
    if base is not None and _number(base[1]) in met:
        return f"has the name that a further face of '{base[1]}' gets; rename one of them"
    if base is not None:
        claimed.add(_number(base[1]))
    return ""


def failing(photo: Photo, why: str) -> Photo:
    """The photo as one that fails under its file's whole name; `why` goes on after its path."""
    trouble = Failure("list", "shared-key", f"'{photo.path}' {why}")
    return replace(photo, key=photo.key + split_key(photo.path)[1], trouble=trouble)


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest(), "little")
