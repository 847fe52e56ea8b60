"""URLs as input: fsspec's memory store and a local web server."""

from __future__ import annotations

import functools
import http.server
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.input.listing import list_input
from pipelines.engine.reading.reader import PhotoReader
from pipelines.engine.run import run_job
from pipelines.engine.types import Task
from pipelines.errors import NoInputError, OutputError, UsageError
from pipelines.records.manifest import read_manifest
from pipelines.records.photos import Photo
from pipelines.storage import remote
from pipelines.storage.open import file_stat
from pipelines.storage.remote import as_url, find_files, read_remote, remote_stat, write_remote
from tests.factories import FakeFaces, align_job, output_files, write_photos
from tests.pipelines.storage.test_tar_index import make_tar, photo

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def bucket() -> Iterator[str]:
    """An empty folder of the memory store."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    store.store.clear()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.001)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(URL, folder) of a web server of this machine; it serves whole files only, and parts of those named ``*.tar``."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not (span and self.path.endswith(".tar")):
                return super().do_GET()
            part = (folder / self.path.lstrip("/")).read_bytes()[int(span[1]) : int(span[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            super().end_headers()
            self.wfile.write(part)

        def end_headers(self) -> None:
            if self.path.endswith(".tar"):
                self.send_header("Accept-Ranges", "bytes")
            super().end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as web:
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", folder
        web.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (Path("s3://bucket/a b/c.jpg"), "s3://bucket/a b/c.jpg"),
        (Path("http://host:80/x"), "http://host:80/x"),
        (Path("memory://in"), "memory://in"),
        ("gs://x", "gs://x"),
        (Path("file:///tmp/x"), "file:///tmp/x"),
        (Path("C:/photos"), None),
        (Path("/data/s3"), None),
        (Path("relative/a:b"), None),
    ],
)
def test_urls_survive_a_path(place: Path | str, url: str | None) -> None:
    assert as_url(place) == url


def test_a_bucket_as_input(bucket: str, tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 4)
    for path in raw.rglob("*.png"):
        write_remote(f"{bucket}/in/{path.relative_to(raw).as_posix()}", path.read_bytes())
    write_remote(f"{bucket}/in/notes.md", b"x")
    job = align_job(Path(f"{bucket}/in"), tmp_path / "out")
    summary = run_job(job)
    assert (summary.ok, summary.failed) == (4, 0)
    run_job(align_job(raw, tmp_path / "local"))
    assert output_files(tmp_path / "out") == output_files(tmp_path / "local")
    assert read_manifest(tmp_path / "out")["sub/p02"].source == f"{bucket}/in/sub/p02.png"
    assert run_job(align_job(Path(f"{bucket}/in"), tmp_path / "out")).skipped == 4
    write_remote(f"{bucket}/in/p00.png", photo(99))
    again = run_job(align_job(Path(f"{bucket}/in"), tmp_path / "out"))
    assert (again.ok, again.skipped) == (1, 3)
    with pytest.raises(NoInputError, match="no picture"):
        list_input(Path("memory://bucket/none"))


def test_remote_archives_lists_and_single_photos(bucket: str, tmp_path: Path) -> None:
    for n in range(2):
        data = make_tar(tmp_path / "a.tar", {"x/a.png": photo(n), "x/a.json": b"{}"}).read_bytes()
        write_remote(f"{bucket}/s-{n}.tar", data)
    write_remote(f"{bucket}/one.png", photo(3))
    write_remote(f"{bucket}/list.txt", b"one.png\nmemory://bucket/../one.png\nmemory://other/two.png?w=3\n")
    photos = list_input(Path(f"{bucket}/s-{{0..1}}.tar")).photos
    assert [each.key for each in photos] == ["s-0/x/a", "s-1/x/a"]
    assert read_remote(f"{bucket}/s-1.tar", photos.first[1].span) == photo(1)
    run_job(align_job(Path(f"{bucket}/s-{{0..1}}.tar"), tmp_path / "out"))
    assert sorted(output_files(tmp_path / "out")) == ["s-0/x/a.png", "s-1/x/a.png"]
    listing = list_input(Path(f"{bucket}/list.txt"))
    assert [each.key for each in listing.photos] == ["one", "other/two_w=3"]
    assert len(listing.notes) == 1
    assert list_input(Path(f"{bucket}/one.png")).photos.first[0] == Photo("one", f"{bucket}/one.png")
    assert [each.key for each in list_input(Path(bucket)).photos] == ["one", "s-0/x/a", "s-1/x/a"]


@pytest.mark.usefixtures("quick")
def test_a_photo_that_cannot_be_had_is_that_photos_failure(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = PhotoReader(FakeFaces())
    gone = read(Task(0, Photo("a", f"{bucket}/gone.png")))
    assert gone.failure is not None
    assert gone.failure.code == "vanished"
    write_remote(f"{bucket}/a.png", photo(1))
    calls = []

    def broken(self: object, path: str, **span: object) -> bytes:
        calls.append(path)
        raise ConnectionError("the line is cut")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", broken)
    cut = read(Task(0, Photo("a", f"{bucket}/a.png")))
    assert cut.failure is not None
    assert (cut.failure.code, len(calls)) == ("unreachable", remote.ATTEMPTS)
    assert "the line is cut" in cut.failure.message


@pytest.mark.usefixtures("quick")
def test_a_hiccup_is_tried_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_remote(f"{bucket}/a.png", photo(1))
    kind = type(fsspec.filesystem("memory"))
    real, calls = kind.cat_file, []

    def hiccup(self: object, path: str, **span: object) -> bytes:
        calls.append(path)
        if len(calls) < remote.ATTEMPTS:
            raise TimeoutError("slow")
        return bytes(real(self, path, **span))

    monkeypatch.setattr(kind, "cat_file", hiccup)
    assert read_remote(f"{bucket}/a.png") == photo(1)


@pytest.mark.usefixtures("quick")
def test_mistakes_are_sentences(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nosuch"):
        list_input(Path("nosuch://x/y"))
    with pytest.raises(UsageError, match="does not exist"):
        list_input(Path(f"{bucket}/no.tar"))
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", lambda *arguments: 1 / 0)
    with pytest.raises(OutputError, match=r"bucket/a\.png"):
        write_remote(f"{bucket}/a.png", b"x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r"ganinv\[remote\]"):
        find_files(bucket)


@pytest.mark.usefixtures("quick")
def test_a_web_server_as_input(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    write_photos(folder / "in", 3)
    names = ["p00.png", "p01.png", "sub/p02.png?size=full", "gone.png"]
    (tmp_path / "list.txt").write_text("".join(f"{url}/in/{name}\n" for name in names))
    (folder / "in" / "list.txt").write_text("p01.png\n")
    host = url.split("://")[1]
    summary = run_job(align_job(tmp_path / "list.txt", tmp_path / "out", workers=1))
    assert (summary.ok, summary.failures) == (3, {"vanished": 1})
    assert sorted(output_files(tmp_path / "out")) == [f"{host}/in/{n}.png" for n in ("p00", "p01", "sub/p02_size=full")]
    assert run_job(align_job(tmp_path / "list.txt", tmp_path / "out")).skipped == 3
    assert [each.key for each in list_input(Path(f"{url}/in/list.txt")).photos] == ["p01"]
    assert read_remote(f"{url}/in/p00.png", (8, 4)) == photo(0)[8:12], "a server that ignores ranges"
    with pytest.raises(UsageError, match="cannot be listed"):
        list_input(Path(f"{url}/in"))
    with pytest.raises(UsageError, match="nothing can be written"):
        write_remote(f"{url}/in/p09.png", b"x")
    assert remote_stat(f"{url}/in/gone.png") is None
    assert file_stat(f"{url}/in/gone.png") is None


def test_an_archive_on_a_web_server_is_read_in_parts(server: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = server
    make_tar(folder / "in.tar", {f"{n}.png": photo(n) for n in range(5)})
    (folder / "whole-only.TAR").write_bytes((folder / "in.tar").read_bytes())
    summary = run_job(align_job(Path(f"{url}/in.tar"), tmp_path / "out", workers=1))
    assert (summary.ok, summary.failed) == (5, 0)
    with pytest.raises(UsageError, match="parts of a file"):
        list_input(Path(f"{url}/whole-only.TAR"))
