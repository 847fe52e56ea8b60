"""Lists of photos: paths or URLs, one a line (`storage.lines` reads them)."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from pipelines.engine.input.archive import members
from pipelines.engine.input.keys import LeftOut
from pipelines.records.photos import Photo
from pipelines.storage.names import query_mark, split_key, tidy
from pipelines.storage.remote import is_url, needs_network


def listed(lines: Iterable[str], base: str, left_out: LeftOut, offline: bool = False) -> Iterator[Photo]:
    """The photos of a list, in its order; keys do not depend on other lines, so lists can grow.

    Args:
        lines: paths or URLs.
        base: folder or URL that paths are relative to.
        left_out: is told of members of listed archives that cannot be used.
        offline: archives behind URLs are not looked into.
    """
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        path = text if is_url(text) else _joined(base, text)
        relative = _relative(path, base)
        key, suffix = split_key(tidy(relative)) if relative else ("", "")
        if suffix.lower() == ".tar" and not (offline and needs_network(path)):
            yield from members(path, key + "/", left_out)
        else:
            yield Photo(key + query_mark(path), path)


def _joined(base: str, text: str) -> str:
    return f"{base}/{text}" if is_url(base) else _as_on_disk(os.path.abspath(os.path.join(base, text)))


def _as_on_disk(path: str) -> str:
    """`path` as the disk spells it: a list made on another system may have "ë" in one character where the file has two."""
    if path.isascii() or os.path.lexists(path):
        return path
    spellings = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((spelling for spelling in spellings if os.path.lexists(spelling)), path)


def _relative(path: str, base: str) -> str:
    """What names a listed file: its path below the list's folder, else its whole path (or host and path)."""
    head = base.rstrip("/") + "/"
    if is_url(path):
        below = path.startswith(head)
        whole = path[len(head) :] if below else path.split("://", 1)[1]
        return unquote(re.split(r"[?#]", whole, maxsplit=1)[0])
    return path[len(head) :] if path.startswith(head) else Path(path).relative_to(Path(path).anchor).as_posix()
