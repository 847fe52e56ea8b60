"""A style centre's file: back as it was, refused for another generator, made again when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import WeightsError
from pipelines.models.generators.style_space import style_centre
from pipelines.weights import style_centres as centres
from pipelines.weights.style_centres import cached_centre, load_centre, save_centre
from tests.tiny import tiny_generator


def test_round_trip_and_another_generator(tmp_path: Path) -> None:
    generator, path = tiny_generator(), tmp_path / "centre.safetensors"
    centre = style_centre(generator, samples=40, seed=2)
    save_centre(centre, path)
    again = load_centre(path, generator)
    assert (again.samples, again.seed, again.digest, again.num_ws) == (40, 2, centre.digest, 18)
    assert all(torch.equal(a, b) for a, b in zip(centre.vectors, again.vectors, strict=True))
    with pytest.raises(WeightsError, match="belongs to another generator"):
        load_centre(path, tiny_generator(seed=1))


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "centre.safetensors"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_centre(path, tiny_generator())


def test_it_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, folder = tiny_generator(), tmp_path / "centres"
    first = cached_centre(generator, folder, samples=30)
    (file,) = folder.iterdir()
    monkeypatch.setattr(centres, "style_centre", None)  # computing again would fail
    second = cached_centre(generator, folder, samples=30)
    assert all(torch.equal(a, b) for a, b in zip(first.vectors, second.vectors, strict=True))
    monkeypatch.undo()
    file.write_bytes(b"torn")
    third = cached_centre(generator, folder, samples=30)
    assert all(torch.equal(a, b) for a, b in zip(first.vectors, third.vectors, strict=True))
    assert load_centre(file, generator).samples == 30


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert cached_centre(tiny_generator(), blocked / "centres", samples=10).samples == 10
