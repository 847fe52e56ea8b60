"""Tiny catalogues, archives and servers for the tests of weights."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipelines.weights.catalogue import WeightEntry
from pipelines.weights.download import FetchEvent
from pipelines.weights.package_index import IndexSettings
from pipelines.weights.store import StoreConfig, WeightStore

DATA = bytes(range(256)) * 40


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_entry(name: str = "net", data: bytes | None = DATA, **fields: Any) -> WeightEntry:
    """An entry whose hash and size are those of `data` (None: unknown)."""
    known = {} if data is None else {"sha256": sha(data), "bytes": len(data)}
    plain = {"role": "trunk", "arch": "x", "format": "dat", "filename": f"{name}.dat", "licence": "MIT", "origin": "me"}
    return WeightEntry(**({"name": name} | plain | known | fields))


def make_store(
    home: Path, *entries: WeightEntry, on_event: Callable[[FetchEvent], None] | None = None, **config: Any
) -> WeightStore:
    """A store of `entries` alone that knows no package index unless told."""
    settings = {"index": IndexSettings(index_urls=())} | config
    return WeightStore(StoreConfig(home, **settings), on_event, {entry.name: entry for entry in entries})


def leftovers(home: Path) -> list[Path]:
    """Part files, wherever they are."""
    return list(home.rglob("*.part"))


def make_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_sdist(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_index(folder: Path, package: str, *archives: Path) -> IndexSettings:
    """A simple index on disk (PEP 503) that offers `archives` as files of `package`."""
    page = folder / package / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("".join(f'<a href="{archive.as_uri()}">{archive.name}</a>\n' for archive in archives))
    return IndexSettings(index_urls=(folder.as_uri(),))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Truncated(BaseHTTPRequestHandler):
    """Promises all of DATA, sends half, hangs up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[: len(DATA) // 2])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path | None) -> Iterator[str]:
    """The URL of a web server on this machine: of `folder`'s files, or (None) one that hangs up half-way."""
    handler = partial(_Quiet, directory=str(folder)) if folder else _Truncated
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
