from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.read import convert_checkpoint, read_checkpoint
from pipelines.weights.store import WeightStore
from tests.pipelines.weights.helpers import make_entry, make_store


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def store_of(tmp_path: Path, value: object) -> WeightStore:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    torch.save(value, mirror / "net.pth")
    entry = make_entry(data=None, filename="net.pth", format="pth")
    return make_store(tmp_path / "home", entry, mirror=str(mirror), offline=True)


def test_names_and_numbers_are_kept_nested_ones_joined_by_dots_and_the_rest_left_out(tmp_path: Path) -> None:
    tied = torch.randn(3, 4)
    value = {
        "state_dict": {"module.a.weight": tied, "module.b.weight": tied},
        "opts": argparse.Namespace(lr=0.1, device="cuda:0"),
        "latent_avg": torch.ones(2, dtype=torch.float16),
        "turned": tied.T,
        "step": 3,
    }
    tensors = store_of(tmp_path, value).tensors("net")
    assert set(tensors) == {"state_dict.module.a.weight", "state_dict.module.b.weight", "latent_avg", "turned"}
    assert torch.equal(tensors["state_dict.module.b.weight"], tied)
    assert torch.equal(tensors["turned"], tied.T)
    assert tensors["latent_avg"].dtype == torch.float16


def test_the_checkpoint_is_opened_once_and_then_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, {"a": torch.arange(3.0)})
    store.tensors("net")

    def refuse(*args: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr("pipelines.weights.store.convert_checkpoint", refuse)
    monkeypatch.setattr("pipelines.weights.store.read_checkpoint", refuse)
    assert torch.equal(store.tensors("net")["a"], torch.arange(3.0))


def test_a_changed_conversion_is_made_anew_from_the_verified_file(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": torch.arange(3.0)})
    store.tensors("net")
    [made] = (tmp_path / "home/converted").glob("*.safetensors")
    made.write_bytes(b"garbage")
    assert torch.equal(store.tensors("net")["a"], torch.arange(3.0))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_that_wants_to_run_code_is_refused_and_runs_nothing(tmp_path: Path, legacy: bool) -> None:
    target = tmp_path / "ran"
    value = {"a": torch.ones(1), "evil": Evil(target)}
    torch.save(value, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="refused"):
        read_checkpoint(tmp_path / "net.pth")
    assert not target.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(WeightsError, match=r"net\.pth"):
        read_checkpoint(tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04 cut short"])
def test_what_is_no_checkpoint_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=r"net\.pth"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_zip_that_is_no_checkpoint_and_one_without_tensors_are_clear_errors(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as opened:
        opened.writestr("a", "b")
    torch.save({"step": 3}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"zip\.pth"):
        read_checkpoint(tmp_path / "zip.pth")
    with pytest.raises(WeightsError, match="no tensors"):
        convert_checkpoint(tmp_path / "none.pth", tmp_path / "out")


def test_a_weights_folder_that_cannot_take_the_copy_still_gives_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, {"a": torch.arange(3.0)})
    store.path("net")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.weights.store.convert_checkpoint", full)
    assert torch.equal(store.tensors("net")["a"], torch.arange(3.0))


def test_only_checkpoints_have_tensors(tmp_path: Path) -> None:
    (tmp_path / "net.dat").write_bytes(b"x")
    store = make_store(tmp_path / "home", make_entry(data=None), mirror=str(tmp_path))
    with pytest.raises(WeightsError, match="is a dat file"):
        store.tensors("net")


@pytest.mark.weights
def test_st_lpips_keeps_its_upstream_names(store: WeightStore) -> None:
    tensors = store.tensors("st-lpips-alex")
    assert "lin0.model.1.weight" in tensors
    assert len(tensors) == 20
