"""Files inside archives of the user's own package index: find the archive, read one member. No code of it ever runs.

An sdist is never built and nothing is unpacked as a whole: a member is read by its name, must be a regular file of
exactly the size that the catalogue states, and goes to a path of our own choosing.
"""

from __future__ import annotations

import configparser
import gzip
import io
import logging
import os
import ssl
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from unearth import PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.collector import LinkCollectError
from unearth.fetchers import PyPIClient

from pipelines.weights.catalogue import ArchiveKind, IndexMember

_MOST_AT_ONCE = 1 << 20  # bytes
DEFAULT_INDEX = "https://pypi.org/simple"
# The library warns about every index that it cannot reach; we say so ourselves, once and in one sentence.
logging.getLogger("unearth").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class IndexSettings:
    """How this user reaches packages: pip's own settings, so that what `pip install` finds is found here too.

    Attributes:
        index_urls: simple indexes, in pip's order; credentials may stand in the URL.
        find_links: folders or pages with archives.
        trusted_hosts: hosts whose certificate is not checked.
        cert: path of a certificate bundle, or empty for the platform's.
    """

    index_urls: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> IndexSettings:
        """Read pip's environment variables, then its configuration files; local places that do not exist are dropped.

        Args:
            environ: usually ``os.environ``; understood: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_NO_INDEX,
                PIP_FIND_LINKS, PIP_TRUSTED_HOST, PIP_CERT, PIP_CONFIG_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE,
                SSL_CERT_FILE.
        """
        options = _pip_files(environ)
        options |= {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name[:4] == "PIP_"}
        urls = [options.get("index-url") or DEFAULT_INDEX, *options.get("extra-index-url", "").split()]
        if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
            urls = []
        bundles = (environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
        cert = next((path for path in (options.get("cert", ""), *bundles) if path and Path(path).is_file()), "")
        links = tuple(filter(_reachable, options.get("find-links", "").split()))
        return cls(tuple(filter(_reachable, urls)), links, tuple(options.get("trusted-host", "").split()), cert)


def _pip_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Options of pip's configuration files: the machine's, the user's, the environment's, then PIP_CONFIG_FILE."""
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return {}
    parser = configparser.RawConfigParser(strict=False)
    for path in [*_pip_places(environ), *([Path(chosen)] if chosen else [])]:
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about it; our job is only to find an archive
    sections = [section for section in ("global", "download") if parser.has_section(section)]
    return {key.replace("_", "-"): value for section in sections for key, value in parser.items(section)}


def _pip_places(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    if sys.platform == "win32":
        folders = [Path(environ[name]) / "pip" for name in ("PROGRAMDATA", "APPDATA") if environ.get(name)]
        return [folder / "pip.ini" for folder in [*folders, home / "pip", Path(sys.prefix)]]
    shared = [Path(place) / "pip" for place in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if place]
    own = [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"]
    if sys.platform == "darwin":
        shared.append(Path("/Library/Application Support/pip"))
        own.append(home / "Library/Application Support/pip")
    folders = [*reversed(shared), Path("/etc"), home / ".pip", *own, Path(sys.prefix)]
    return [folder / "pip.conf" for folder in folders]


def _reachable(place: str) -> bool:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(unquote(parts.path))).exists()
    return parts.scheme in {"http", "https"} or Path(place).exists()


class _Client(PyPIClient):
    """The library's client; what cannot be reached is passed over, whichever exception the layer below has for it."""

    def send(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().send(*arguments, **options)
        except Exception as error:
            raise LinkCollectError(str(error)) from None


def find_archives(member: IndexMember, settings: IndexSettings) -> list[str]:
    """URLs (``https:`` or ``file:``, fragment removed) of the archive that holds `member`, best first; maybe none.

    An index that cannot be reached is passed over, as pip does.
    """
    if not (settings.index_urls or settings.find_links):
        return []
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=settings.cert) if settings.cert else True
    with _Client(trusted_hosts=settings.trusted_hosts, verify=verify, timeout=30.0) as client:
        client.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.index_urls)
        finder = PackageFinder(
            client,  # type: ignore[arg-type]  # the library's own client: only its protocol's type is narrower
            index_urls=settings.index_urls,
            find_links=settings.find_links,
            ignore_compatibility=True,  # data only: a wheel for another Python or platform serves as well
        )
        matches = finder.find_matches(f"{member.package}=={member.version}", allow_yanked=True)
        links = [match.link for match in matches if match.link.is_wheel == (member.kind == "wheel")]
    return list(dict.fromkeys(link.url_without_fragment for link in links))


def extract_members(archive: Path, kind: ArchiveKind, targets: Mapping[str, tuple[Path, int]]) -> dict[str, str]:
    """Read members of a wheel (zip) or sdist (tar.gz) to files of our own.

    Args:
        archive: the downloaded file; nothing about it is trusted.
        kind: how to read it.
        targets: member name -> where to write it, and the exact size in bytes that it must have.

    Returns:
        Member name -> problem in words, "" where it was written. Hashes are not checked here.
    """
    problems = dict.fromkeys(targets, "is not in the archive")
    try:
        if kind == "wheel":
            _read_zip(archive, targets, problems)
        else:
            _read_tar(archive, targets, problems)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        reason = f"cannot be read: the archive is damaged ({error})"
        problems = {name: problem and reason for name, problem in problems.items()}
    return problems


def _read_zip(archive: Path, targets: Mapping[str, tuple[Path, int]], problems: dict[str, str]) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.filename in targets:
                mode = info.external_attr >> 16
                regular = not info.is_dir() and stat.S_IFMT(mode) in (0, stat.S_IFREG)
                problem = _member_problem(regular, info.file_size, targets[info.filename][1])
                if not problem:
                    with opened.open(info) as stream:
                        problem = _copy_exactly(stream, *targets[info.filename])
                problems[info.filename] = problem


def _read_tar(archive: Path, targets: Mapping[str, tuple[Path, int]], problems: dict[str, str]) -> None:
    waiting = set(targets)
    with gzip.open(archive) as stream, tarfile.open(fileobj=_Careful(stream), mode="r:") as opened:
        for info in opened:
            if info.size < 0:
                raise tarfile.ReadError("a member of negative size")
            if info.name in waiting:
                problem = _member_problem(info.isreg(), info.size, targets[info.name][1])
                member = None if problem else opened.extractfile(info)
                problems[info.name] = _copy_exactly(member, *targets[info.name]) if member else problem
                waiting.discard(info.name)
            if not waiting:  # what follows would be decompressed for nothing
                return


class _Careful(io.BufferedReader):
    """A stream that refuses what no honest sdist asks for: a header that claims a name of gigabytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError("a header of impossible size")
        return super().read(size)


def _member_problem(regular: bool, size: int, expected: int) -> str:
    if not regular:
        return "is a link or a folder, not a file"
    return "" if size == expected else f"has {size} bytes instead of {expected}"


def _copy_exactly(stream: IO[bytes], target: Path, size: int) -> str:
    """Copy `size` bytes; one more is asked for, because what a header states and what follows it may differ."""
    left = size
    with target.open("wb") as out:
        while chunk := stream.read(min(_MOST_AT_ONCE, left + 1)):
            if len(chunk) > left:
                return f"has more than the {size} bytes that it should have"
            out.write(chunk)
            left -= len(chunk)
    return f"ends {left} bytes early" if left else ""
