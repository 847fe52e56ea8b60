"""Which layers a pass visits."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.generators.stylegan2_plan import layers_of, needed

LAYERS = layers_of(16)
TENSOR = torch.zeros(1)


def _points(
    inject: dict[int | str, object], collect: tuple[int | str, ...] = (), image: bool = True
) -> list[int | str]:
    return [layer.point for layer in needed(LAYERS, inject, collect, image)]  # type: ignore[arg-type]


def test_a_plain_pass_visits_all_in_order() -> None:
    assert _points({}) == [4, "4rgb", 8, "8b", "8rgb", 16, "16b", "16rgb"]
    assert [layer.row for layer in LAYERS] == [0, 1, 1, 2, 3, 3, 4, 5]
    assert [layer.noise for layer in LAYERS if not layer.rgb] == [0, 1, 2, 3, 4]


def test_features_alone_need_no_picture() -> None:
    assert _points({}, (8,), image=False) == [4, 8]


def test_an_injected_tensor_leaves_out_what_only_it_replaces() -> None:
    assert _points({8: TENSOR}) == [4, "4rgb", 8, "8b", "8rgb", 16, "16b", "16rgb"]  # 4 for the skip picture
    assert _points({16: TENSOR, "8rgb": TENSOR}) == ["8rgb", 16, "16b", "16rgb"]
    assert _points({"16b": TENSOR}) == [4, "4rgb", 8, "8b", "8rgb", "16b", "16rgb"]
    assert _points({"16b": TENSOR}, (8,), image=False) == [4, 8]


def test_what_is_collected_runs_all_the_same() -> None:
    assert _points({16: TENSOR, "8rgb": TENSOR}, (8,)) == [4, 8, "8rgb", 16, "16b", "16rgb"]


def test_a_function_replaces_nothing() -> None:
    assert _points({16: lambda x: x}) == _points({})


def test_an_unknown_point_is_named() -> None:
    with pytest.raises(ValueError, match="no feature point '16c'; known: 4, 4rgb"):
        _points({"16c": TENSOR})
