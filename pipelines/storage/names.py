"""Names of files that come from outside: which of them no path can be made of, and the one form in which they are compared."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from hashlib import blake2b
from urllib.parse import parse_qsl, urlsplit

from pipelines.storage.remote import is_url

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # those between stand for single bytes (see `tidy`)
_SIGNATURE = r"x-(amz|goog|oss|cos)-.*|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|token|sig"
_AZURE = r"s[a-z]{1,2}|sk[a-z]+"  # beside a `sig`
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
_LONGEST_QUERY = 60  # characters of it that a key may hold


def unsafe_name(name: str) -> str:
    """Why a name from outside cannot be a key, or "": absolute, with ``..``, empty, or not a name at all."""
    if "\0" in name:
        return "holds a zero byte"
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    if ".." in name and ".." in re.split(r"[/\\]", name):
        return "leads out of its place ('..')"
    if not name.isascii() and _HALF.search(name):
        return "holds half a character"
    return "" if posixpath.normpath(name) not in ("", ".") else "is empty"


def tidy(name: str) -> str:
    """A POSIX path in the form in which keys are compared: normalised, NFC; bytes that are no text as ``%E9``."""
    name = posixpath.normpath(name) if name else name
    if name.isascii():
        return name
    text = "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)
    return unicodedata.normalize("NFC", text)


def split_key(relative: str) -> tuple[str, str]:
    """POSIX path -> (key, suffix with its dot), as pathlib sees them, but fast."""
    start = relative.rfind("/") + 1
    dot = relative.rfind(".")
    return (relative[:dot], relative[dot:]) if start < dot < len(relative) - 1 else (relative, "")


def query_mark(url: str) -> str:
    """What a URL's query adds to its key: ``?id=1`` -> ``_id=1``; signatures and dates of expiry add nothing."""
    if not is_url(url) or "?" not in url:
        return ""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    signs = f"{_SIGNATURE}|{_AZURE}" if any(name == "sig" for name, _ in query) else _SIGNATURE
    told = [(name, value) for name, value in query if not re.fullmatch(signs, name, re.IGNORECASE)]
    if not told:
        return ""
    text = tidy(_UNSAFE.sub("_", "&".join(f"{name}={value}" if value else name for name, value in told)))
    short = len(text) <= _LONGEST_QUERY
    return "_" + (text if short else blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest())
