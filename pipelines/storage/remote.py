"""Photos and folders behind a URL: ``http(s)://`` as it is; ``s3://``, ``gs://``, ``memory://`` ... through fsspec.

fsspec and the reader of each scheme (s3fs, gcsfs) come with the extra ``ganinv[remote]``; nothing of them is imported
before a URL is used. Credentials are those that the scheme's own reader finds; `ganinv` asks for none.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import OutputError, PhotoError, UsageError
from pipelines.images.decode import MAX_BYTES
from pipelines.records.manifest import Stat
from pipelines.storage.web import WebStore

T = TypeVar("T")
ATTEMPTS = 3
PAUSE = 0.3  # seconds before the second attempt; doubled before the third
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # one letter would be a drive


def as_url(place: str | Path) -> str | None:
    """The URL that a place on the command line means, or None for a path of this machine.

    A `pathlib.Path` turns ``s3://bucket`` into ``s3:/bucket``: the second slash is put back.
    """
    found = _URL.fullmatch(str(place))
    if found is None:
        return None
    scheme, rest = found[1].lower(), found[2]
    return f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def is_url(place: str) -> bool:
    """Whether a recorded source is a URL."""
    return "://" in place and as_url(place) is not None


def needs_network(place: str) -> bool:
    """Whether a place on the command line or a recorded source lies behind a URL of another machine."""
    url = as_url(place)
    return url is not None and not url.startswith(("file:", "local:", "memory:"))


def open_store(url: str) -> tuple[Any, str]:
    """The file system of a URL (fsspec's, or a `WebStore`), and the URL's path in it.

    Raises:
        UsageError: fsspec or the scheme's reader is not installed, or there is no such scheme.
    """
    if url.startswith(("http://", "https://")):
        return _web(os.getpid()), url
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(f"'{url}' needs fsspec; install it: pip install 'ganinv[remote]'") from None
    try:
        store, path = url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"'{url}' needs another package ({error}); try: pip install 'ganinv[remote]'") from None
    except ValueError as error:
        raise UsageError(f"'{url}' cannot be opened ({_first_line(error)})") from None
    return store, str(path)


@lru_cache(maxsize=1)
def _web(process: int) -> WebStore:
    """One session a process: connections must not be shared with a forked decoder."""
    return WebStore()


def find_files(url: str) -> dict[str, tuple[str, Stat | None]]:
    """All files below a remote folder: path relative to it (POSIX) -> (URL, stat). Empty where there is no such folder.

    Raises:
        UsageError: the store cannot be reached or refuses.
    """
    store, root = open_store(url)
    base = root.rstrip("/") + "/"
    found: Mapping[str, Any] = _asked(url, lambda: store.find(base, detail=True)) or {}
    files = {}
    for path, info in found.items():
        if path.startswith(base) and info.get("type", "file") == "file":
            relative = path[len(base) :]
            files[relative] = (f"{url.rstrip('/')}/{relative}", _stat(info))
    return files


def list_folder(url: str) -> list[tuple[str, bool, Stat | None]]:
    """What lies in one remote folder, not below it: (name, is it a folder, stat). Empty where there is no such folder.

    Nothing of the listing stays in memory: stores keep what they were asked, which over millions of photos is too much.

    Raises:
        UsageError: the store cannot be reached or refuses.
    """
    store, root = open_store(url)
    base = root.rstrip("/") + "/"
    found: list[Mapping[str, Any]] = _asked(url, lambda: store.ls(base.rstrip("/") or "/", detail=True)) or []
    rows = []
    for info in found:
        name, kind = str(info["name"]).rstrip("/"), info.get("type", "file")
        if name.startswith(base) and kind in ("file", "directory"):
            is_folder = kind == "directory"
            rows.append((name[len(base) :], is_folder, None if is_folder else _stat(info)))
    if found:
        store.invalidate_cache(root)
    return rows


def _asked(url: str, ask: Callable[[], T]) -> T | None:
    """What a store says of a folder; None where there is no such folder."""
    try:
        return _again(ask)
    except FileNotFoundError:
        return None
    except UsageError:
        raise
    except Exception as error:  # each store has its own tree of exceptions
        raise _no_access(url, "listed", error) from None


def _no_access(url: str, verb: str, error: Exception) -> UsageError:
    return UsageError(f"'{url}' cannot be {verb} ({_first_line(error)}); check the address and your rights")


def remote_stat(url: str) -> Stat | None:
    """(bytes, a number that changes with the content's date or tag), or None where the store does not say."""
    try:
        store, path = open_store(url)
        return _stat(_again(lambda: store.info(path)))
    except Exception:  # a photo that cannot be looked at is read, and that says what is wrong
        return None


def read_remote(url: str, span: tuple[int, int] | None = None) -> bytes:
    """All bytes of a remote file, or `span` = (offset, size) of it.

    Raises PhotoError: ``vanished``, ``too-large`` (over 1 GB, where the store tells), ``unreachable`` (after three
    attempts). UsageError where the scheme's reader is missing.
    """
    store, path = open_store(url)
    try:
        if span is not None:
            start, size = span
            part = bytes(_again(lambda: store.cat_file(path, start=start, end=start + size)))
            return part[start : start + size] if len(part) > size else part  # a server may ignore the range
        stat = remote_stat(url)
        if stat is not None and stat[0] > MAX_BYTES:
            raise PhotoError("too-large", f"'{url}' has {stat[0]:,} bytes, more than a photo can have")
        return bytes(_again(lambda: store.cat_file(path)))
    except FileNotFoundError:
        raise PhotoError("vanished", f"'{url}' is not there any more; run again once it is back") from None
    except PhotoError:
        raise
    except Exception as error:  # each store has its own tree of exceptions
        raise PhotoError("unreachable", f"'{url}' cannot be read ({_first_line(error)}); run again later") from None


def open_remote(url: str) -> Any:
    """A seekable binary file behind a URL; raises UsageError where it cannot be opened, or only read from its start."""
    store, path = open_store(url)
    try:
        file = _again(lambda: store.open(path, "rb", block_size=1 << 16))
    except FileNotFoundError:
        raise UsageError(f"the input '{url}' does not exist") from None
    except Exception as error:  # each store has its own tree of exceptions
        raise _no_access(url, "opened", error) from None
    if not file.seekable():
        file.close()
        raise UsageError(f"the server of '{url}' does not serve parts of a file; download it and give its path")
    return file


def write_remote(url: str, data: bytes) -> None:
    """Puts a whole file; object stores show it whole or not at all. Raises OutputError after three attempts."""
    store, path = open_store(url)

    def put() -> None:
        parent = path.rpartition("/")[0]
        if parent:
            store.makedirs(parent, exist_ok=True)
        store.pipe_file(path, data)

    try:
        _again(put)
    except UsageError:
        raise
    except Exception as error:  # each store has its own tree of exceptions
        raise OutputError(f"cannot write '{url}' ({_first_line(error)}); run again once it can be reached") from error


def _again(action: Callable[[], T]) -> T:
    """The action's result; tried again where a network may have hiccupped."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except (FileNotFoundError, PermissionError, NotImplementedError, PhotoError, UsageError):
            raise
        except Exception:  # whatever else a store's library raises may be the network's; the last try tells it
            time.sleep(PAUSE * 2**attempt)
    return action()


def _stat(info: Mapping[str, Any]) -> Stat | None:
    size = info.get("size")
    marks = [
        str(info[name]) for name in ("ETag", "etag", "LastModified", "mtime", "updated", "created") if info.get(name)
    ]
    if size is None or not marks:
        return None
    return int(size), int(hashlib.sha256("|".join(marks).encode()).hexdigest()[:12], 16)


def _first_line(error: BaseException) -> str:
    """The reason in few words: the system's own where a library wrapped it, else the error's first line."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return str(inner.strerror)
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return (str(error).splitlines() or [""])[0] or type(error).__name__
