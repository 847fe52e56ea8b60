from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import WeightsError
from pipelines.weights.download import FetchEvent
from pipelines.weights.store import StoreConfig, WeightStore
from tests.pipelines.weights.helpers import DATA, leftovers, make_entry, make_store, serve, sha

OTHER = b"x" * len(DATA)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "net.dat").write_bytes(DATA)
    return folder


def test_a_mirror_folder_serves_offline_and_the_cache_keeps_a_copy(tmp_path: Path, mirror: Path) -> None:
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror), offline=True)
    assert store.status("net") == "mirror"
    assert store.have("net")
    path = store.path("net")
    (mirror / "net.dat").unlink()
    assert path.is_relative_to(tmp_path / "home")
    assert store.path("net").read_bytes() == DATA
    assert store.status("net") == "cached"


def test_the_mirror_comes_before_the_entrys_own_sources(tmp_path: Path, mirror: Path) -> None:
    events: list[FetchEvent] = []
    entry = make_entry(sources=("https://unreachable.invalid/net.dat",))
    make_store(tmp_path / "home", entry, on_event=events.append, mirror=mirror.as_uri()).path("net")
    assert [e.kind for e in events if e.kind != "progress"] == ["licence", "start", "done"]
    assert str(mirror) in events[-1].message
    assert events[-1].done == len(DATA)


def test_a_mirror_on_the_web_serves_and_asks_below_its_address(tmp_path: Path, mirror: Path) -> None:
    with serve(mirror) as url:
        store = make_store(tmp_path / "home", make_entry(), mirror=url + "/")
        assert not store.have("net")
        assert store.path("net").read_bytes() == DATA


def test_offline_never_asks_a_mirror_on_the_web(tmp_path: Path, mirror: Path) -> None:
    with serve(mirror) as url:
        store = make_store(tmp_path / "home", make_entry(), mirror=url, offline=True)
        with pytest.raises(WeightsError, match="offline"):
            store.path("net")


def test_a_file_missing_on_the_mirror_goes_on_to_the_next_source_and_every_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as url:
        entry = make_entry(sources=("https://unreachable.invalid/net.dat",))
        store = make_store(tmp_path / "home", entry, mirror=url)
        with pytest.raises(WeightsError, match=r"404.*unreachable\.invalid cannot be reached.*weights pull net`"):
            store.path("net")


def test_a_wrong_hash_names_file_expected_and_got_and_keeps_nothing(tmp_path: Path, mirror: Path) -> None:
    (mirror / "net.dat").write_bytes(OTHER)
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    with pytest.raises(WeightsError) as caught:
        store.path("net")
    assert all(part in str(caught.value) for part in ("net.dat", sha(DATA), sha(OTHER), str(mirror)))
    assert not store.have("net") or store.status("net") == "mirror"
    assert not leftovers(tmp_path / "home")


def test_a_tampered_cached_file_of_the_same_size_is_found_and_the_way_out_works(tmp_path: Path, mirror: Path) -> None:
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    path = store.path("net")
    path.write_bytes(OTHER)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match="ganinv weights rm net") as caught:
        store.path("net")
    assert str(path) in str(caught.value)
    assert store.remove("net")
    assert store.path("net").read_bytes() == DATA


def test_a_cached_file_is_hashed_in_full_only_once(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    path = store.path("net")
    hashed: list[Path] = []
    monkeypatch.setattr("pipelines.weights.cache.sha256_of", lambda p: hashed.append(p) or sha(p.read_bytes()))
    store.path("net")
    assert not hashed
    os.utime(path)  # touched, not changed: hashed once more, and stamped
    store.path("net")
    store.path("net")
    assert hashed == [path]


def test_a_file_put_into_the_cache_by_hand_is_hashed_before_use(tmp_path: Path) -> None:
    store = make_store(tmp_path, make_entry(), offline=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/net.dat").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="was changed or damaged"):
        store.path("net")


def test_verify_finds_what_the_cheap_check_cannot(tmp_path: Path, mirror: Path) -> None:
    store = make_store(tmp_path / "home", make_entry(), make_entry("two"), mirror=str(mirror))
    path = store.path("net")
    before = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.path("net") == path
    assert sha(OTHER) in store.verify()["net"]
    assert "not cached" in store.verify(["two"])["two"]
    path.write_bytes(DATA)
    assert store.verify() == {"net": ""}


def test_trust_on_first_use_is_recorded_and_a_later_difference_is_an_error(tmp_path: Path, mirror: Path) -> None:
    store = make_store(tmp_path / "home", make_entry(data=None), mirror=str(mirror))
    assert store.sha256("net") == ""
    path = store.path("net")
    assert store.sha256("net") == sha(DATA)
    assert json.loads((tmp_path / "home/lock.json").read_text()) == {"net": sha(DATA)}
    path.unlink()
    (mirror / "net.dat").write_bytes(OTHER)
    with pytest.raises(WeightsError, match=sha(DATA)):
        store.path("net")
    store.remove("net")
    assert store.path("net").read_bytes() == OTHER
    assert store.sha256("net") == sha(OTHER)


def test_a_known_prefix_is_checked_where_the_rest_is_trusted(tmp_path: Path, mirror: Path) -> None:
    good = make_entry(data=None, sha256_prefix=sha(DATA)[:8])
    assert make_store(tmp_path / "a", good, mirror=str(mirror)).path("net").read_bytes() == DATA
    bad = make_entry(data=None, sha256_prefix=sha(OTHER)[:8])
    with pytest.raises(WeightsError, match=sha(OTHER)[:8]):
        make_store(tmp_path / "b", bad, mirror=str(mirror)).path("net")


def test_offline_names_all_missing_files_and_one_pull_line(tmp_path: Path, mirror: Path) -> None:
    entries = (make_entry(requires=("b",)), make_entry("a"), make_entry("b"))
    store = make_store(tmp_path / "home", *entries, mirror=str(mirror), offline=True)
    with pytest.raises(WeightsError) as caught:
        store.pull(["net", "a"])
    message = str(caught.value)
    assert "a.dat (a)" in message
    assert "b.dat (b)" in message
    assert "net.dat" not in message
    assert "`ganinv weights pull b a`" in message
    assert caught.value.exit_code == 5


def test_an_entry_without_a_source_says_how_to_add_the_file(tmp_path: Path, mirror: Path) -> None:
    store = make_store(tmp_path / "home", make_entry())
    with pytest.raises(WeightsError, match=r"ganinv weights add net\.dat --as net"):
        store.path("net")
    assert store.status("net") == "absent"
    assert store.add(mirror / "net.dat", "net").read_bytes() == DATA
    assert store.pull(["net"])["net"].is_file()


def test_add_refuses_another_file_and_a_missing_one(tmp_path: Path) -> None:
    store = make_store(tmp_path / "home", make_entry())
    (tmp_path / "mine").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="expected"):
        store.add(tmp_path / "mine", "net")
    with pytest.raises(WeightsError, match="cannot be read"):
        store.add(tmp_path / "nothing", "net")
    assert not store.have("net")


def test_the_licence_is_told_once_and_again_only_when_it_changes(tmp_path: Path, mirror: Path) -> None:
    events: list[FetchEvent] = []
    entry = make_entry(licence="MIT")
    for licence in ("MIT", "MIT", "GPL"):
        changed = entry.model_copy(update={"licence": licence})
        store = make_store(tmp_path / "home", changed, on_event=events.append, mirror=str(mirror))
        store.path("net")
        store.remove("net")
    assert [event.message for event in events if event.kind == "licence"] == ["MIT", "GPL"]


def test_pull_to_fills_a_mirror_that_serves_another_store(tmp_path: Path, mirror: Path) -> None:
    (mirror / "more.dat").write_bytes(OTHER)
    entries = (make_entry(requires=("more",)), make_entry("more", OTHER))
    first = make_store(tmp_path / "a", *entries, mirror=str(mirror))
    copies = first.pull_to(tmp_path / "stick", ["net"])
    assert {path.name for path in copies.values()} == {"net.dat", "more.dat"}
    second = make_store(tmp_path / "b", *entries, mirror=str(tmp_path / "stick"), offline=True)
    assert second.pull(["net"])["more"].read_bytes() == OTHER
    assert not leftovers(tmp_path / "stick")


def test_many_pulls_at_once_end_in_one_right_file(tmp_path: Path, mirror: Path) -> None:
    (mirror / "free.dat").write_bytes(OTHER)
    entries = (make_entry(), make_entry("free", None))
    with serve(mirror) as url:
        stores = [make_store(tmp_path / "home", *entries, mirror=url) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda store: store.pull(["net", "free"]), stores))
    assert all(result == results[0] for result in results)
    assert results[0]["net"].read_bytes() == DATA
    assert json.loads((tmp_path / "home/lock.json").read_text()) == {"free": sha(OTHER)}
    assert not leftovers(tmp_path / "home")


def test_a_read_only_weights_folder_is_a_clear_error(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    store = make_store(tmp_path / "home", make_entry(), mirror=str(mirror))
    with pytest.raises(WeightsError, match=r"cannot be written.*GANINV_HOME"):
        store.path("net")


def test_the_environment_is_read_into_a_picklable_config(tmp_path: Path) -> None:
    environ = {"GANINV_HOME": str(tmp_path), "GANINV_MIRROR": "/m", "GANINV_OFFLINE": "1", "HOME": str(tmp_path)}
    config = StoreConfig.from_env(environ)
    assert (config.home, config.mirror, config.offline) == (tmp_path, "/m", True)
    assert pickle.loads(pickle.dumps(config)) == config
    assert StoreConfig.from_env(environ, tmp_path / "flag").home == tmp_path / "flag"
    plain = StoreConfig.from_env({"HOME": str(tmp_path), "GANINV_OFFLINE": "0"})
    assert "ganinv" in plain.home.parts[-1]
    assert not plain.offline
    assert StoreConfig.from_env({"HOME": str(tmp_path)}, offline=True).offline


@pytest.mark.weights
def test_the_index_serves_the_samples_with_their_hashes(tmp_path: Path) -> None:
    store = WeightStore(StoreConfig.from_env(os.environ, tmp_path))
    paths = store.pull(["sample-obama", "sample-32bit"])
    assert paths["sample-32bit"].name == "32bit.png"
    assert store.have("sample-biden"), "one archive, one download"
    assert set(store.verify().values()) == {""}
