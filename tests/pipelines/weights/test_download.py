from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import WeightsError
from pipelines.weights.download import FetchEvent, SourceError, copy_file, download, mirror_file, mirror_url, sha256_of
from pipelines.weights.package_index import IndexSettings
from tests.pipelines.weights.helpers import DATA, leftovers, make_entry, make_store, serve, sha

SETTINGS = IndexSettings(index_urls=())


def nothing(done: int, total: int) -> None:
    """A progress that nobody watches."""


def test_a_download_tells_its_progress_up_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    told: list[tuple[int, int]] = []
    with serve(tmp_path) as url:
        download(f"{url}/a", tmp_path / "part", SETTINGS, len(DATA), lambda done, total: told.append((done, total)))
    assert sha256_of(tmp_path / "part") == sha(DATA)
    assert told[-1] == (len(DATA), len(DATA))


def test_a_server_that_sends_too_much_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with serve(tmp_path) as url, pytest.raises(SourceError, match="more than the 100 bytes"):
        download(f"{url}/a", tmp_path / "part", SETTINGS, 100, nothing)


def test_a_connection_that_breaks_half_way_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with serve(None) as url:
        store = make_store(tmp_path / "home", make_entry(), mirror=url)
        with pytest.raises(WeightsError, match="the connection broke before the end"):
            store.path("net")
    assert not store.have("net")
    assert not leftovers(tmp_path / "home")


def test_an_interruption_half_way_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(event: FetchEvent) -> None:
        if event.kind == "progress":
            raise KeyboardInterrupt

    (tmp_path / "net.dat").write_bytes(DATA)
    store = make_store(tmp_path / "home", make_entry(), on_event=interrupt, mirror=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        store.path("net")
    assert not list((tmp_path / "home/files").iterdir())
    assert not leftovers(tmp_path / "home")


def test_an_unreachable_host_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^127\.0\.0\.1 cannot be reached: no connection$"):
        download("http://127.0.0.1:9/a", tmp_path / "part", SETTINGS, 0, nothing)


def test_a_message_never_shows_a_password(tmp_path: Path) -> None:
    with serve(tmp_path) as url, pytest.raises(SourceError) as caught:
        download(url.replace("//", "//user:secret@") + "/none?token=secret", tmp_path / "part", SETTINGS, 0, nothing)
    assert "404" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        copy_file(tmp_path / "none", tmp_path / "part", nothing)


def test_a_mirror_is_a_folder_a_file_url_or_a_web_address(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    assert mirror_file(str(tmp_path), "a b") == mirror_file(tmp_path.as_uri(), "a b") == tmp_path / "a b"
    assert mirror_file("https://m.example/x", "a b") is mirror_file(None, "a b") is None
    assert mirror_file(str(tmp_path), "none") is None
    assert mirror_url("https://m.example/x/", "a b") == ["https://m.example/x/a%20b"]
    assert mirror_url(str(tmp_path), "a b") == mirror_url(None, "a") == []
