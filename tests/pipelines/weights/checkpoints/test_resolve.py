from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import UsageError, WeightsError
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.weights.checkpoints.resolve import entry_for
from tests.pipelines.weights import upstream_files as files
from tests.pipelines.weights.helpers import make_entry, make_store


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    files.shrink(monkeypatch)


def test_a_file_is_converted_once_and_known_by_its_hash_under_any_name(tmp_path: Path) -> None:
    store = make_store(tmp_path / "home", make_entry())
    file = files.e4e_file(tmp_path / "any.pt")
    first = entry_for(store, str(file), "encoder")
    assert first.startswith("any-")
    moved = file.rename(tmp_path / "moved.pt")
    assert entry_for(store, str(moved), "encoder") == first
    assert entry_for(store, str(moved), "generator") == first.replace("-encoder", "-generator")
    assert entry_for(store, first, "encoder") == first
    other = files.e4e_file(tmp_path / "any.pt", global_step=9)
    assert entry_for(store, str(other), "encoder") not in (first, "")


def test_a_name_is_a_name_and_a_missing_file_or_a_wrong_role_is_said(tmp_path: Path) -> None:
    store = make_store(tmp_path / "home", make_entry())
    store.convert(files.e4e_file(tmp_path / "any.pt"), "mine")
    assert entry_for(store, "mine", "encoder") == "mine-encoder"
    with pytest.raises(UsageError, match=r"nothing\.pt is not a file"):
        entry_for(store, str(tmp_path / "nothing.pt"), "encoder")
    with pytest.raises(WeightsError, match="unknown weights 'mein'"):
        entry_for(store, "mein", "encoder")
    with pytest.raises(WeightsError, match="holds no compensator"):
        entry_for(store, str(tmp_path / "any.pt"), "compensator")


def test_both_kinds_of_generator_file_give_one_and_the_same_generator(tmp_path: Path) -> None:
    """Through the network itself: what `convert` writes is what it loads, strictly."""
    tensors = {key: tensor.float() for key, tensor in files.generator_tensors(mapping=1).items()}
    torch.save({"g_ema": tensors, "latent_avg": torch.arange(512.0)}, tmp_path / "ros.pt")
    (tmp_path / "ada.pkl").write_bytes(files.ada_bytes(tensors))
    store = make_store(tmp_path / "home", make_entry())
    entries = [entry_for(store, str(tmp_path / name), "generator") for name in ("ros.pt", "ada.pkl")]
    made = [build_stylegan2(store.tensors(entry), entry, 2000) for entry in entries]
    codes = torch.randn(2, 4, 512, generator=torch.Generator().manual_seed(1))
    pictures = [generator.synthesize(codes).image for generator in made]
    assert pictures[0].shape == (2, 3, 8, 8)
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(made[0].w_avg, torch.arange(512.0))
