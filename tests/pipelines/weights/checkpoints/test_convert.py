"""Converted entries in the weights folder: names, trust, lists, use, removal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from pipelines.errors import UsageError, WeightsError
from pipelines.weights.catalogue import WeightEntry, load_catalogue
from pipelines.weights.store import WeightStore
from tests.pipelines.weights import upstream_files as files
from tests.pipelines.weights.helpers import leftovers, make_entry, make_store, sha


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    files.shrink(monkeypatch)


def upstream_entry(name: str = "e4e", **fields: Any) -> WeightEntry:
    plain = {
        "role": "encoder", "arch": "e4e", "format": "pt", "filename": "e4e_ffhq_encode.pt", "licence": "MIT code",
        "origin": "a drive", "parts": ("encoder", "generator"), "params": {"recipe": "e4e"},
    }  # fmt: skip
    return make_entry(name, None, **(plain | fields))


def generator_entry() -> WeightEntry:
    return upstream_entry("sg2", role="generator", arch="stylegan2", filename="sg2.pt", parts=("generator",), params={})


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    return make_store(tmp_path / "home", upstream_entry(), generator_entry(), offline=True)


def again(store: WeightStore, *entries: WeightEntry) -> WeightStore:
    """Another process on the same folder."""
    return make_store(store.config.home, *(entries or (upstream_entry(), generator_entry())), offline=True)


def test_a_file_becomes_entries_that_every_process_knows_with_all_that_is_said_of_them(
    store: WeightStore, tmp_path: Path
) -> None:
    file = files.e4e_file(tmp_path / "e4e_ffhq_encode.pt")
    done = store.convert(file)
    assert (done.name, done.first) == ("e4e", True)
    assert done.sha256 == sha(file.read_bytes())
    other = again(store)
    entry = other.entry("e4e-encoder")
    assert (entry.role, entry.arch, entry.format) == ("encoder", "e4e", "safetensors")
    assert (entry.source_entry, entry.source_file, entry.source_sha256) == ("e4e", file.name, done.sha256)
    assert (entry.licence, dict(entry.params)) == ("MIT code", {"recipe": "e4e", "num_ws": 2})
    assert "recipe" not in other.entry("e4e-generator").params
    assert other.status("e4e") == "converted"
    assert other.status("e4e-generator") == "cached"
    assert other.have("e4e")
    assert [e.name for e in other.entries()] == ["e4e", "sg2", "e4e-encoder", "e4e-generator"]
    with safe_open(other.path("e4e-encoder"), "pt") as opened:
        about = json.loads(opened.metadata()["ganinv"])
    assert about["role"] == "encoder"
    assert about["source_sha256"] == done.sha256
    assert not leftovers(store.config.home)


def test_tensors_of_the_upstream_name_are_those_of_its_main_network(store: WeightStore, tmp_path: Path) -> None:
    store.convert(files.e4e_file(tmp_path / "e4e_ffhq_encode.pt"))
    store = again(store)
    assert "styles.1.linear.weight" in store.tensors("e4e")
    assert torch.equal(store.tensors("e4e")["latent_avg"], store.tensors("e4e-encoder")["latent_avg"])
    assert "convs.1.conv.weight" in store.tensors("e4e-generator")
    assert store.resolve("e4e", "generator") == "e4e-generator"
    assert store.resolve("e4e-encoder", "encoder") == "e4e-encoder"
    store.pull(["e4e"])
    assert store.sha256("e4e")


def test_a_name_of_the_users_own_is_resolved_by_role(store: WeightStore, tmp_path: Path) -> None:
    done = store.convert(files.e4e_file(tmp_path / "My Encoder_v2.pt"))
    assert done.name == "my-encoder-v2"
    assert store.resolve("my-encoder-v2", "encoder") == "my-encoder-v2-encoder"
    with pytest.raises(WeightsError, match="holds no compensator: it was converted to my-encoder-v2-encoder"):
        store.resolve("my-encoder-v2", "compensator")
    with pytest.raises(WeightsError, match="unknown weights 'nothing'"):
        store.resolve("nothing", "encoder")
    with pytest.raises(WeightsError, match="is no generator"):
        store.resolve("my-encoder-v2-encoder", "generator")


def test_an_upstream_file_in_a_mirror_folder_is_converted_at_first_use(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    files.e4e_file(tmp_path / "mirror/e4e_ffhq_encode.pt")
    store = make_store(tmp_path / "home", upstream_entry(), mirror=str(tmp_path / "mirror"), offline=True)
    assert store.status("e4e") == "mirror"
    assert "styles.1.linear.weight" in store.tensors("e4e")
    assert set(store.verify().values()) == {""}
    assert "e4e-encoder" in store.verify()


def test_a_file_that_is_nowhere_names_its_origin_and_the_convert_line(store: WeightStore) -> None:
    for ask in (lambda: store.tensors("e4e"), lambda: store.pull(["e4e"]), lambda: store.resolve("e4e", "encoder")):
        with pytest.raises(WeightsError, match=r"a drive.*weights convert e4e_ffhq_encode\.pt --as e4e`") as caught:
            ask()
        assert caught.value.exit_code == 5


def test_the_first_file_is_trusted_and_another_one_refused_until_it_is_forgotten(
    store: WeightStore, tmp_path: Path
) -> None:
    first = store.convert(files.e4e_file(tmp_path / "a.pt"), "mine")
    assert json.loads((store.config.home / "lock.json").read_text())["mine"] == first.sha256
    assert store.convert(tmp_path / "a.pt", "mine").first is False
    files.e4e_file(tmp_path / "b.pt", global_step=8)
    with pytest.raises(WeightsError, match=rf"expected {first.sha256}.*weights rm mine"):
        again(store).convert(tmp_path / "b.pt", "mine")
    assert store.remove("mine")
    assert again(store).convert(tmp_path / "b.pt", "mine").first


def test_a_known_hash_is_checked_before_the_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("pipelines.weights.checkpoints.convert.detect", refuse)
    store = make_store(tmp_path / "home", upstream_entry(sha256="0" * 64))
    (tmp_path / "e4e_ffhq_encode.pt").write_bytes(b"x")
    with pytest.raises(WeightsError, match="is not the file that 'e4e' names"):
        store.convert(tmp_path / "e4e_ffhq_encode.pt")


def test_another_network_than_the_catalogue_names_is_refused_and_nothing_is_kept(
    store: WeightStore, tmp_path: Path
) -> None:
    torch.save({"g_ema": files.generator_tensors()}, tmp_path / "g.pt")
    with pytest.raises(WeightsError, match=r"g\.pt is a StyleGAN2 generator of 8 px.*not what 'e4e' names"):
        store.convert(tmp_path / "g.pt", "e4e")
    assert not store.sha256("e4e")
    assert not list((store.config.home / "own").glob("*")) if (store.config.home / "own").exists() else True


def test_names_that_cannot_be_meant_are_usage_errors(store: WeightStore, tmp_path: Path) -> None:
    file = files.e4e_file(tmp_path / "a.pt")
    for name in ("Mine", "../evil", "a/b", ""):
        with pytest.raises(UsageError, match=r"not a file|cannot be a name"):
            store.convert(file if name else tmp_path, name or None)
    store.convert(file, "mine")
    with pytest.raises(UsageError, match="entry of its own"):
        store.convert(file, "mine-encoder")
    taken = make_store(tmp_path / "other", make_entry("mine-encoder"))
    with pytest.raises(UsageError, match="'mine-encoder' is an entry of the catalogue"):
        taken.convert(file, "mine")


def test_removal_takes_all_parts_or_one(store: WeightStore, tmp_path: Path) -> None:
    file = files.e4e_file(tmp_path / "a.pt")
    store.convert(file, "e4e")
    assert store.group("e4e") == ["e4e-encoder", "e4e-generator", "e4e"]
    assert store.remove("e4e-generator")
    assert again(store).status("e4e") == "absent"
    store.convert(file, "e4e")
    assert store.remove("e4e")
    assert [entry.name for entry in again(store).entries()] == ["e4e", "sg2"]
    assert not store.sha256("e4e")
    assert not list((store.config.home / "files").iterdir())


def test_a_damaged_conversion_is_found_and_the_way_out_works(store: WeightStore, tmp_path: Path) -> None:
    file = files.e4e_file(tmp_path / "a.pt")
    store.convert(file, "mine")
    store.path("mine-encoder").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"weights rm mine-encoder`, then `ganinv weights convert a\.pt --as mine"):
        again(store).tensors("mine-encoder")
    assert again(store).verify()["mine-encoder"]
    again(store).remove("mine-encoder")
    renewed = again(store)
    renewed.convert(file, "mine")
    assert renewed.tensors("mine-encoder")


def test_a_damaged_record_names_itself(store: WeightStore, tmp_path: Path) -> None:
    store.convert(files.e4e_file(tmp_path / "a.pt"), "mine")
    record = store.config.home / "own/mine-encoder.json"
    for text in ("{", "[]", '{"name": "x"}', record.read_text().replace("mine-encoder", "other")):
        record.write_text(text)
        with pytest.raises(WeightsError, match=r"mine-encoder\.json is damaged"):
            again(store)


def test_a_record_cannot_take_the_place_of_a_catalogue_entry(store: WeightStore, tmp_path: Path) -> None:
    store.convert(files.e4e_file(tmp_path / "a.pt"), "mine")
    newer = again(store, make_entry("mine-encoder", b"other"))
    assert newer.entry("mine-encoder").sha256 == sha(b"other")


def test_output_writes_elsewhere_and_records_nothing(store: WeightStore, tmp_path: Path) -> None:
    file = files.e4e_file(tmp_path / "a.pt")
    done = store.convert(file, "mine", tmp_path / "out")
    assert {path.name for path in done.files.values()} == {"mine-encoder.safetensors", "mine-generator.safetensors"}
    assert all(path.is_file() for path in done.files.values())
    with pytest.raises(UsageError, match="one file, but there are 2 networks"):
        store.convert(file, "mine", tmp_path / "one.safetensors")
    torch.save({"g_ema": files.generator_tensors()}, tmp_path / "g.pt")
    [path] = store.convert(tmp_path / "g.pt", "gen", tmp_path / "one.safetensors").files.values()
    assert path == tmp_path / "one.safetensors"
    (tmp_path / "blocked").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        store.convert(file, "mine", tmp_path / "blocked")
    assert not store.config.home.exists()


def test_pull_to_refuses_where_only_the_conversion_is_kept(store: WeightStore, tmp_path: Path) -> None:
    store.convert(files.e4e_file(tmp_path / "a.pt"), "e4e")
    assert store.pull(["e4e"])["e4e"].name == "e4e-encoder.safetensors"
    with pytest.raises(WeightsError, match=r"copy e4e_ffhq_encode\.pt yourself"):
        store.pull_to(tmp_path / "stick", ["e4e"])


def test_the_catalogue_lists_the_fields_files_with_licence_and_origin_and_invents_no_address() -> None:
    entries = load_catalogue()
    upstream = {name: entry for name, entry in entries.items() if entry.parts}
    assert set(upstream) == {
        "stylegan2-ffhq", "stylegan2-ffhq-ada", "e4e", "psp", "lsap", "cycle", "restyle-e4e", "sdic", "hfgi",
        "diffcam", "diffcam-deghosting",
    }  # fmt: skip
    for entry in upstream.values():
        assert entry.licence
        assert entry.origin
        assert entry.noncommercial
        assert not entry.sources
    assert {"lpips-alex-trunk", "lpips-vgg-trunk", "retinaface-resnet50", "parsing-bisenet", "arcface-irse50"} <= set(
        entries
    )
    assert not any(f"{name}-{part}" in entries for name, entry in upstream.items() for part in entry.parts)
