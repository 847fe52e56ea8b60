"""A run's state on disk equals the state in memory, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import UsageError
from pipelines.training.checkpoint import all_finite, load_state, save_state


def test_what_is_read_equals_what_was_saved(tmp_path: Path) -> None:
    state = {
        "step": 7,
        "best": 0.25,
        "name": "a/b",
        "none": None,
        "on": True,
        "net": {"w": torch.randn(3, 2), "n": torch.tensor(4)},
        "optimiser": {"state": {0: {"m": torch.ones(2)}}, "groups": [{"lr": 1e-3, "params": [0, 1]}]},
        "empty": torch.zeros(0),
    }
    save_state(tmp_path / "s", state)
    back = load_state(tmp_path / "s")
    assert back["optimiser"]["state"][0]["m"].equal(torch.ones(2))
    assert back["optimiser"]["groups"] == [{"lr": 1e-3, "params": [0, 1]}]
    assert back["net"]["w"].equal(state["net"]["w"])  # type: ignore[index]
    assert back["net"]["n"].dtype == torch.int64
    assert {key: back[key] for key in ("step", "best", "name", "none", "on")} == {
        key: state[key] for key in ("step", "best", "name", "none", "on")
    }
    assert back["empty"].shape == (0,)


def test_an_optimiser_goes_on_from_it(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    save_state(tmp_path / "s", {"o": optimiser.state_dict()})
    other = torch.optim.AdamW(layer.parameters())
    other.load_state_dict(load_state(tmp_path / "s")["o"])
    assert other.state_dict()["state"][0]["exp_avg"].equal(optimiser.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("damage", [b"", b"x" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "s").write_bytes(damage)
    with pytest.raises(UsageError, match="cannot be read"):
        load_state(tmp_path / "s")


def test_code_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_state(tmp_path / "s", {"f": print})


def test_infinities_are_found() -> None:
    assert all_finite({"a": [torch.ones(2), {"b": torch.tensor(3)}]})
    assert not all_finite({"a": [torch.ones(2), {"b": torch.tensor([1.0, float("nan")])}]})
