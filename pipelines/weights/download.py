"""Bytes from a URL or a folder into a part file, with progress; and what is told to whoever watches."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

import requests

from pipelines.errors import WeightsError
from pipelines.files import replacing
from pipelines.weights.catalogue import WeightEntry
from pipelines.weights.package_index import IndexSettings

CHUNK = 1 << 18
MAX_BYTES = 4 << 30  # a file of unknown size stops here
_TIMEOUT = (15.0, 60.0)  # seconds: to connect, and between two chunks
_PROGRESS_S = 0.1

Progress = Callable[[int, int], None]  # bytes done, bytes in all (0 = unknown)


@dataclass(frozen=True)
class FetchEvent:
    """Something that happened while a file was fetched.

    Attributes:
        kind: ``licence`` (once ever per entry, before its first byte), ``start``, ``progress``, ``done``, or
            ``failed`` (one source could not serve; the next is tried, if there is one).
        entry: the entry that was asked for; its name, bytes, licence and noncommercial are there.
        done: bytes so far. While an archive is read these are the archive's bytes, not the entry's.
        total: bytes in all, 0 where unknown.
        message: where from (start, done), or why not (failed); one sentence.
    """

    kind: Literal["licence", "start", "progress", "done", "failed"]
    entry: WeightEntry
    done: int = 0
    total: int = 0
    message: str = ""


class SourceError(Exception):
    """One source cannot serve a file (unreachable, not there); the next one is to be tried. One sentence."""


def sha256_of(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_file(source: Path, part: Path, progress: Progress, limit: int = 0) -> None:
    """Copy a local file of at most `limit` bytes (0 = `MAX_BYTES`) to `part`; raises SourceError where it cannot be read."""
    try:
        total, done = source.stat().st_size, 0
        stream = source.open("rb")
    except OSError as error:
        raise SourceError(f"{source} cannot be read: {error.strerror or error}") from None
    if total > (limit or MAX_BYTES):
        stream.close()
        raise SourceError(f"{source} has {total} bytes, more than the {limit or MAX_BYTES} that it should have")
    with stream, part.open("wb") as out:
        while chunk := stream.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress(done, total)


def place_copy(source: Path, target: Path, sha256: str) -> None:
    """Copy `source` to `target` (its folder is made), whole or not at all; nothing where it is there.

    Raises:
        WeightsError: `target` cannot be written.
    """
    try:
        if not (target.is_file() and sha256_of(target) == sha256):
            with replacing(target) as part:
                copy_file(source, part, lambda done, total: None)
    except (OSError, SourceError) as error:
        raise WeightsError(f"{target} cannot be written: {error}") from None


def download(url: str, part: Path, settings: IndexSettings, limit: int, progress: Progress) -> None:
    """Stream `url` (``https:``, ``http:`` or ``file:``) into `part`.

    Args:
        limit: the most bytes to accept; 0 = `MAX_BYTES`.

    Raises:
        SourceError: unreachable, refused, cut short, or larger than `limit`.
        OSError: `part` cannot be written.
    """
    if urlsplit(url).scheme == "file":
        return copy_file(Path(url2pathname(unquote(urlsplit(url).path))), part, progress, limit)
    host = urlsplit(url).hostname or ""
    verify: bool | str = False if host in settings.trusted_hosts else settings.cert or True
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT, verify=verify, auth=_credentials(url, settings)) as got:
            if got.status_code != 200:
                raise SourceError(f"{_shown(url)} answered {got.status_code} {got.reason}")
            _stream(got, url, part, limit or MAX_BYTES, progress)
    except requests.exceptions.RequestException as error:
        raise SourceError(f"{host} cannot be reached: {_reason(error)}") from None


def _stream(got: requests.Response, url: str, part: Path, limit: int, progress: Progress) -> None:
    length = got.headers.get("Content-Length", "")
    total, done, told = int(length) if length.isdecimal() and len(length) < 20 else 0, 0, 0.0
    if total > limit:
        raise SourceError(f"{_shown(url)} offers {total} bytes, more than the {limit} bytes that it should have")
    with part.open("wb") as out:
        for chunk in got.iter_content(CHUNK):
            done += len(chunk)
            if done > limit:
                raise SourceError(f"{_shown(url)} sends more than the {limit} bytes that it should have")
            out.write(chunk)
            now = time.monotonic()
            if now - told > _PROGRESS_S:
                told = now
                progress(done, total)
    progress(done, total or done)


def _credentials(url: str, settings: IndexSettings) -> tuple[str, str] | None:
    """A private index often lists bare file URLs: what its own URL carries opens its files on the same host too."""
    for index in settings.index_urls:
        parts = urlsplit(index)
        if parts.username and parts.netloc.rpartition("@")[2] == urlsplit(url).netloc.rpartition("@")[2]:
            return unquote(parts.username), unquote(parts.password or "")
    return None


def _shown(url: str) -> str:
    """The URL without user name, password and query, fit for a message."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted (a company proxy? set REQUESTS_CA_BUNDLE)"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end"
    return "no connection" if isinstance(error, requests.exceptions.ConnectionError) else type(error).__name__


def mirror_file(mirror: str | None, filename: str) -> Path | None:
    """The file in a mirror folder (a path or a ``file:`` URL), or None where the mirror has none or is no folder.

    Raises:
        WeightsError: this user may not look into the folder.
    """
    if not mirror or urlsplit(mirror).scheme in {"http", "https"}:
        return None
    is_url = urlsplit(mirror).scheme == "file"
    folder = Path(url2pathname(unquote(urlsplit(mirror).path))) if is_url else Path(mirror).expanduser()
    try:
        return folder / filename if (folder / filename).is_file() else None
    except OSError as error:
        raise WeightsError(f"the mirror {folder} cannot be read: {(error.strerror or str(error)).lower()}") from None


def mirror_url(mirror: str | None, filename: str) -> list[str]:
    """Where a mirror on the web keeps a file (directly below it, under the upstream name); empty for a folder."""
    if not mirror or urlsplit(mirror).scheme not in {"http", "https"}:
        return []
    return [f"{mirror.rstrip('/')}/{quote(filename)}"]
