from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.errors import WeightsError
from pipelines.weights import assets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of assets with one asset, `tiny`."""
    save_file({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.json").write_text(json.dumps({"licence": "MIT"}))
    monkeypatch.setattr(assets.resources, "files", lambda package: tmp_path)
    return tmp_path


def test_an_asset_gives_its_tensors_card_and_hash(folder: Path) -> None:
    assert assets.asset_path("tiny") == folder / "tiny.safetensors"
    assert assets.asset_tensors("tiny")["a"].dtype == torch.float16
    assert assets.asset_card("tiny") == {"licence": "MIT"}
    assert assets.asset_sha256("tiny") == hashlib.sha256((folder / "tiny.safetensors").read_bytes()).hexdigest()


def test_a_replaced_asset_has_another_hash(folder: Path) -> None:
    before = assets.asset_sha256("tiny")
    save_file({"a": torch.zeros(3)}, folder / "tiny.safetensors")
    assert assets.asset_sha256("tiny") != before


@pytest.mark.parametrize("name", ["none", "../tiny", "sub/tiny"])
def test_an_asset_that_is_not_there_is_a_clear_error(folder: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="lacks its own file"):
        assets.asset_path(name)


def test_damaged_assets_are_clear_errors(folder: Path) -> None:
    (folder / "tiny.safetensors").write_bytes(b"x")
    (folder / "tiny.json").write_text("[]")
    with pytest.raises(WeightsError, match="damaged"):
        assets.asset_tensors("tiny")
    with pytest.raises(WeightsError, match="no JSON object"):
        assets.asset_card("tiny")


def test_every_packed_asset_has_a_card_and_is_small() -> None:
    packed = list(Path(assets.__file__).parents[1].joinpath("assets").glob("*.safetensors"))
    for path in packed:
        assert assets.asset_card(path.stem).get("licence"), path.name
        assert path.stat().st_size <= 16 * 2**20, path.name
