"""Directions from the field's files, and what a set of directions does to codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.errors import UsageError
from pipelines.stages.edit.direction_files import read_directions
from pipelines.stages.edit.direction_set import Direction, DirectionSet


@pytest.mark.parametrize("shape", [(512,), (1, 512), (18, 512), (1, 18, 512)])
@pytest.mark.parametrize("suffix", [".npy", ".pt", ".safetensors"])
def test_one_vector_in_every_shape_and_format(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"age{suffix}"
    if suffix == ".npy":
        np.save(path, vector.numpy())
    elif suffix == ".pt":
        torch.save(vector, path)
    else:
        save_file({"anything": vector}, path)
    (direction,) = read_directions(path, 18)
    assert direction.name == "age"
    assert torch.equal(direction.vector, vector.reshape(-1, 512).expand(18, 512))


def test_ganspace_components_are_scaled_by_their_deviation(tmp_path: Path) -> None:
    comp, std = torch.randn(4, 1, 512), torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.save({"mean": torch.zeros(1, 512), "comp": comp, "std": std}, tmp_path / "pca.pt")
    made = DirectionSet(read_directions(tmp_path / "pca.pt", 18))
    assert made.names() == ["pca.0", "pca.1", "pca.2", "pca.3"]
    moved = made.apply(torch.zeros(1, 18, 512), [("pca.2@7-8", 2.0)])
    assert torch.allclose(moved[0, 7:9], (6 * comp[2]).expand(2, 512))
    assert moved[0, :7].abs().sum() == 0
    assert moved[0, 9:].abs().sum() == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.zeros(512, np.float32), "zero or not finite"), (np.ones(100, np.float32), "expected 512"),
     (np.full(512, np.nan, np.float32), "zero or not finite"), (np.ones((17, 512), np.float32), "17 x 512")],
)  # fmt: skip
def test_bad_vectors_are_refused(tmp_path: Path, value: np.ndarray, said: str) -> None:
    np.save(tmp_path / "bad.npy", value)
    with pytest.raises(UsageError, match=said):
        read_directions(tmp_path / "bad.npy", 18)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_directions(tmp_path / "none.npy", 18)
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(UsageError, match="cannot be read"):
        read_directions(tmp_path / "a.npy", 18)
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(UsageError, match=r"use \.npy, \.pt or \.safetensors"):
        read_directions(tmp_path / "a.txt", 18)
    np.save(tmp_path / "complex.npy", np.ones(512, np.complex64))
    with pytest.raises(UsageError, match="numbers are complex"):
        read_directions(tmp_path / "complex.npy", 18)
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="cannot be read"):
        read_directions(tmp_path / "object.npy", 18)


def test_unknown_names_list_the_nearest_first() -> None:
    known = DirectionSet([Direction(name, torch.ones(18, 512), "u", "t") for name in ("age", "smile", "yaw")])
    with pytest.raises(UsageError, match=r"unknown attribute 'smlie'; known: smile"):
        known.get("smlie")
    with pytest.raises(UsageError, match="rows must lie in 0-17"):
        known.get("smile@5-18")
    with pytest.raises(UsageError, match="two directions are called 'age'"):
        DirectionSet([Direction("age", torch.ones(18, 512), "u", "t")] * 2)
