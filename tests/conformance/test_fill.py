"""The filler against numbers computed by hand: without it every other test here compares nothing."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.fill import draw, fill
from tests.conformance.helpers import Golden, relative_error

MANIFEST = {
    "net.a.weight": {"shape": [2, 3], "dtype": "float32", "mean": 1.0, "std": 0.5},
    "net.a.running_var": {"shape": [50], "dtype": "float32", "mean": 0.0, "std": 1.0, "min": 0.2},
    "net.steps": {"shape": [], "dtype": "int64", "mean": 3.6, "std": 0.0},
    "other.b": {"shape": [1], "dtype": "float32", "mean": 0.0, "std": 1.0},
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(MANIFEST))
    return path


def test_values_follow_the_full_key_and_the_prefix_comes_off(manifest: Path) -> None:
    state = fill(manifest, prefix="net.")
    assert list(state) == ["a.weight", "a.running_var", "steps"]
    seed = np.random.PCG64(zlib.crc32(b"net.a.weight"))
    expected = np.random.Generator(seed).standard_normal((2, 3), dtype=np.float32) * 0.5 + 1
    assert np.allclose(state["a.weight"], expected, atol=1e-7)
    assert state["a.running_var"].min() == np.float32(0.2)
    assert state["steps"].dtype == np.int64
    assert state["steps"] == 4


def test_only_what_is_kept_is_drawn(manifest: Path) -> None:
    assert list(fill(manifest, keep=lambda key: "weight" in key)) == ["net.a.weight"]


def test_pictures_are_smooth_and_bounded_and_the_prefix_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = draw("x", (1, 3, 96, 128), "image")
    assert plain.dtype == np.float32
    assert np.abs(plain).max() < 1
    assert np.abs(np.diff(plain, axis=3)).mean() < 0.5 * plain.std()
    monkeypatch.setenv("CONFORMANCE_PREFIX", "other/")
    assert not np.allclose(plain, draw("x", (1, 3, 96, 128), "image"))


def test_a_golden_that_is_absent_skips_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_DIR", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"e4e/lec\.npz"):
        Golden("e4e/lec")
    np.savez(tmp_path / "some.npz", a=np.ones(2))
    some = Golden("some")
    assert some["a"].sum() == 2
    with pytest.raises(pytest.skip.Exception, match="no array 'b'"):
        some["b"]


def test_a_wrong_or_infinite_value_counts() -> None:
    reference = np.array([1.0, -4.0])
    assert relative_error(np.array([1.0, -4.4]), reference) == pytest.approx(0.1)
    assert relative_error(np.array([1.0, np.nan]), reference) == float("inf")
