"""From tensors to a generator: sizes read from shapes, bad files refused in one sentence, statistics of W."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.generators.stylegan2_state import build_stylegan2, set_statistics
from pipelines.stages.entry import Parts
from pipelines.stages.published import generator_entry
from pipelines.weights.catalogue import WeightEntry
from tests.pipelines.models.generators.test_stylegan2 import DIM, tiny_stylegan2

State = dict[str, Tensor]


def _state() -> State:
    return {key: tensor.clone() for key, tensor in tiny_stylegan2().state_dict().items()}


def test_a_generator_comes_back_with_its_size_and_numbers() -> None:
    state = _state()
    kernel = torch.ones(4, 4)
    given = state | {"convs.0.conv.blur.kernel": kernel, "to_rgbs.0.upsample.kernel": kernel}
    built = build_stylegan2(given | {"latent_avg": torch.arange(float(DIM))}, samples=300)
    assert (built.resolution, built.num_ws) == (64, 10)
    assert list(built.state_dict()) == list(state)
    assert all(torch.equal(built.state_dict()[key], state[key]) for key in state)
    w = torch.randn(2, DIM)
    assert torch.equal(built.synthesize(w).image, tiny_stylegan2().synthesize(w).image)
    assert torch.equal(built.w_avg, torch.arange(float(DIM)))
    assert not any(parameter.requires_grad for parameter in built.parameters())


def test_rows_of_an_average_stand_for_one() -> None:
    built = build_stylegan2(_state() | {"latent_avg": torch.ones(10, DIM)}, samples=300)
    assert torch.equal(built.w_avg, torch.ones(DIM))


def test_statistics_are_those_of_the_mapping_network() -> None:
    tiny = tiny_stylegan2()
    set_statistics(tiny, samples=6000)
    w = tiny.map(torch.randn(6000, DIM, generator=torch.Generator().manual_seed(77)))
    assert torch.allclose(tiny.w_avg, w.mean(dim=0), atol=0.05 * float(w.std()))
    assert torch.allclose(tiny.w_std, w.std(dim=0), rtol=0.1)
    white = (w - tiny.w_avg) @ tiny.w_whiten
    assert white.square().mean() == pytest.approx(1, abs=0.1)
    assert torch.allclose(white.T @ white / len(w), torch.eye(DIM), atol=0.2)


def _drop(state: State) -> None:
    del state["convs.3.noise.weight"]


def _add(state: State) -> None:
    state["encoder.body"] = torch.ones(1)


def _reshape(state: State) -> None:
    state["convs.3.conv.modulation.weight"] = torch.ones(3, DIM)


def _spoil(state: State) -> None:
    state["to_rgb1.bias"][0, 1] = float("nan")


def _empty(state: State) -> None:
    state.clear()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_drop, r"lacks tensors of a 64 px StyleGAN2: convs\.3\.noise\.weight"),
        (_add, r"has unknown tensors of a 64 px StyleGAN2: encoder\.body"),
        (_reshape, rf"convs\.3\.conv\.modulation\.weight is 3x{DIM}, but a 64 px StyleGAN2 needs 10x{DIM}"),
        (_spoil, r"to_rgb1\.bias holds NaN"),
        (_empty, r"holds no StyleGAN2 generator"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(damage: Callable[[State], None], words: str) -> None:
    state = _state()
    damage(state)
    with pytest.raises(WeightsError, match=words) as caught:
        build_stylegan2(state, "mine.safetensors", samples=300)
    assert "mine.safetensors" in str(caught.value)


def test_a_mapping_network_of_another_depth_is_read() -> None:
    state = {
        key: tensor for key, tensor in _state().items() if key.split(".")[:2] not in (["style", "7"], ["style", "8"])
    }
    built = build_stylegan2(state, samples=300)
    assert len(built.style) == 7  # pixel norm and six layers
    assert built.map(torch.randn(2, DIM)).shape == (2, DIM)


class _Store:
    """A store whose `stylegan2-ffhq` is a converted generator of 64 px."""

    def __init__(self, **params: int) -> None:
        self._params = params

    def entry(self, name: str) -> WeightEntry:
        return WeightEntry(
            name=name,
            role="generator",
            arch="stylegan2",
            params=self._params,
            format="safetensors",
            filename="mine.safetensors",
            licence="none",
            origin="a test",
        )

    def tensors(self, name: str) -> State:
        assert name == "stylegan2-ffhq"
        return _state() | {"latent_avg": torch.ones(DIM)}


class _NoStore(_Store):
    """Names and roles as a store knows them; nothing is on disk."""

    def entries(self) -> list[WeightEntry]:
        return [self.entry("stylegan2-ffhq")]

    def resolve(self, name: str, role: str) -> str:
        assert role == "generator"
        return name


def test_a_converted_generator_is_built_from_its_entry() -> None:
    store: Any = _NoStore(resolution=64, num_ws=10)
    part = generator_entry("stylegan2-ffhq", store)
    assert part.num_ws == 10
    built = part.build(Parts(store, torch.device("cpu")))
    assert (built.name, built.resolution, built.num_ws) == ("stylegan2-ffhq", 64, 10)
    assert torch.equal(built.w_avg, torch.ones(DIM))


def test_a_generator_of_another_size_than_its_entry_says_is_refused() -> None:
    store: Any = _NoStore(resolution=1024)
    with pytest.raises(WeightsError, match=r"mine\.safetensors\) is a generator of 64 px, not of 1024"):
        generator_entry("stylegan2-ffhq", store).build(Parts(store, torch.device("cpu")))
