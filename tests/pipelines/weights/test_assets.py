from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from pipelines.errors import WeightsError
from pipelines.weights import assets
from pipelines.weights.catalogue import WeightEntry, load_catalogue
from pipelines.weights.store import WeightStore
from tests.pipelines.weights.helpers import make_entry, make_store, sha


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of assets with one asset, `tiny`."""
    folder = tmp_path / "package"
    folder.mkdir()
    save_file({"a": torch.ones(2, dtype=torch.float16)}, folder / "tiny.safetensors")
    (folder / "tiny.json").write_text(json.dumps({"licence": "MIT"}))
    monkeypatch.setattr(assets.resources, "files", lambda package: folder)
    return folder


def tiny(folder: Path) -> WeightEntry:
    data = (folder / "tiny.safetensors").read_bytes()
    return make_entry("tiny", data, filename="tiny.safetensors", format="safetensors", sources=("package:tiny",))


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> WeightStore:
    return make_store(tmp_path / "home", tiny(folder), make_entry("user", requires=("tiny",)), offline=True)


def test_a_packed_file_is_an_entry_like_the_others(store: WeightStore, folder: Path) -> None:
    path = folder / "tiny.safetensors"
    assert store.tensors("tiny")["a"].dtype == torch.float16
    assert store.path("tiny") == path
    assert store.card("tiny") == {"licence": "MIT"}
    assert store.card("user") == {}
    assert store.sha256("tiny") == sha(path.read_bytes())
    assert store.closure(["user"]) == ["user", "tiny"]
    assert (store.status("tiny"), store.have("tiny")) == ("package", True)
    assert store.verify(["tiny"]) == {"tiny": ""}
    assert store.pull(["tiny"]) == {"tiny": path}


def test_a_packed_file_is_never_removed_nor_replaced(store: WeightStore, folder: Path) -> None:
    assert not store.remove("tiny")
    with pytest.raises(WeightsError, match="travels inside ganinv"):
        store.add(folder / "tiny.safetensors", "tiny")
    assert store.have("tiny")


def test_a_changed_packed_file_is_refused(store: WeightStore, folder: Path) -> None:
    store.path("tiny")
    (folder / "tiny.safetensors").write_bytes(save({"a": torch.zeros(3)}))
    with pytest.raises(WeightsError, match=r"is not the file.*install ganinv again.*weights\.toml"):
        store.tensors("tiny")


def test_a_packed_file_that_is_not_there_is_a_clear_error(store: WeightStore, folder: Path) -> None:
    (folder / "tiny.safetensors").unlink()
    assert (store.status("tiny"), store.have("tiny")) == ("absent", False)
    with pytest.raises(WeightsError, match=r"lacks its own file tiny\.safetensors"):
        store.path("tiny")


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, None])
def test_damaged_and_missing_cards_are_clear_errors(store: WeightStore, folder: Path, text: str | None) -> None:
    (folder / "tiny.json").unlink()
    if text is not None:
        (folder / "tiny.json").write_text(text)
    with pytest.raises(WeightsError, match="missing or damaged"):
        store.card("tiny")


def test_every_packed_file_is_an_entry_with_a_card_and_is_small(tmp_path: Path) -> None:
    folder = Path(assets.__file__).parents[1] / "assets"
    packed = {path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".onnx")}
    entries = {name: entry for name, entry in load_catalogue().items() if entry.packed}
    assert {entry.filename for entry in entries.values()} == packed
    for name, entry in entries.items():
        path = assets.packed_path(entry.filename)
        assert sha(path.read_bytes()) == entry.sha256, f"put the sha256 of {path.name} into weights.toml"
        assert path.stat().st_size == entry.bytes <= 16 * 2**20, name
        assert assets.card(name)["licence"] == entry.licence
