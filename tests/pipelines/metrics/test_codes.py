"""Metrics of codes on stand-ins: what they compute, how they enter the registry, which values a mean leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.metrics.lec import EditConsistency, about, edit_consistency
from pipelines.metrics.nscd import StyleDistance
from pipelines.metrics.registry import build_code_metrics, build_metrics, metrics, of_kind, resolve
from pipelines.metrics.summary import Scores, trimmed
from pipelines.metrics.tools import Tools
from pipelines.models.generators.style_space import StyleCentre, nscd, style_centre
from pipelines.types import Inversion
from tests.pipelines.metrics.fakes import CPU, FakeStore
from tests.tiny import tiny_generator

LATENT = of_kind("latent", metrics.names())


class FakeCodes:
    """A linear "generator" whose embedder sees rows without their last one."""

    def __init__(self) -> None:
        self.generator = tiny_generator()
        self.strengths: list[float] = []

    def open(self) -> None:
        self.opened = True

    def centre(self) -> StyleCentre:
        return style_centre(self.generator, samples=20)

    def direction(self, name: str) -> Tensor:
        made = torch.zeros(18, 16)
        made[3] = {"age": 1.0, "yaw": 2.0, "smile": 0.5}[name]
        return made

    def render(self, faces: Inversion, codes: Tensor) -> Tensor:
        self.strengths.append(codes[0, 3, 0].item())
        return codes

    def embed(self, images: Tensor) -> Tensor:
        seen = images.clone()
        seen[:, -1] = 0
        return seen


def test_a_perfect_embedder_comes_back_to_the_start() -> None:
    codes, direction = torch.randn(3, 18, 16), torch.randn(18, 16)
    assert edit_consistency(codes, direction, lambda c: c, lambda i: i).abs().max() < 1e-5


def test_what_the_embedder_loses_is_the_distance() -> None:
    tools = FakeCodes()
    metric = EditConsistency("age", tools.direction("age"), tools.render, tools.embed)
    codes = torch.zeros(2, 18, 16)
    codes[0, -1] = 1  # 16 values of 1: length 4
    codes[1, -1, 0] = 3
    assert metric.name == "lec-age"
    assert metric.score(Inversion(codes)).tolist() == pytest.approx([4, 3])
    assert tools.strengths == [3.0]
    assert "3 age" in about("age")


def test_each_face_has_its_own_value() -> None:
    tools = FakeCodes()
    metric = EditConsistency("yaw", tools.direction("yaw"), tools.render, tools.embed)
    codes = torch.randn(4, 18, 16)
    faces = Inversion(codes)
    torch.testing.assert_close(metric.score(faces)[1:2], metric.score(faces[1:2]))


def test_an_embedder_that_needs_gradients_gets_them() -> None:
    """Optimising embedders take gradient steps inside; nothing of that stays on the result."""

    def embed(images: Tensor) -> Tensor:
        found = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(found.square().sum(), found)
        return found - gradient / 2

    codes = torch.randn(2, 18, 16)
    values = edit_consistency(codes, torch.zeros(18, 16), lambda c: c, embed)
    assert not values.requires_grad
    torch.testing.assert_close(values, codes.flatten(1).norm(dim=1))


def test_nscd_is_that_of_the_style_space() -> None:
    centre, codes = FakeCodes().centre(), torch.randn(3, 18, 16)
    assert torch.equal(StyleDistance(centre).score(Inversion(codes)), nscd(codes, centre))


def test_all_are_built_from_the_registry() -> None:
    assert set(LATENT) == {"nscd", "lec-age", "lec-yaw", "lec-smile"}
    tools = Tools(FakeStore(), CPU, FakeCodes())
    made = build_code_metrics([*LATENT, "mse"], tools)
    assert [metric.name for metric in made] == LATENT
    assert [metric.name for metric in build_metrics([*LATENT, "mse"], tools)] == ["mse"]
    for metric in made:
        assert metric.score(Inversion(torch.randn(2, 18, 16))).shape == (2,)
    assert resolve(["lec"], FakeStore("landmarks-68")) == ({"lec": "lec-age"}, [])


def test_without_a_run_they_are_refused() -> None:
    with pytest.raises(UsageError, match=r"run\.json"):
        build_code_metrics(["nscd"], Tools(FakeStore(), CPU))


def test_outliers_leave_the_mean_and_are_counted() -> None:
    values = [float(number) for number in range(300)]
    assert trimmed(values) == values[2:298]
    assert trimmed(values[:100]) == values[:100]
    assert trimmed([]) == []
    scores = Scores({"lec-age": "lower", "mse": "lower"}, trim=["lec-age"])
    for number in range(300):
        value = 1e6 if number > 297 else float(number)
        scores.add(str(number), "inversion", {"lec-age": value, "mse": value})
    figures = scores.figures("inversion", "lec-age")
    assert figures["mean"] == pytest.approx(sum(range(2, 298)) / 296)
    assert (figures["n"], figures["outliers"]) == (300, 4)
    assert "outliers" not in scores.figures("inversion", "mse")
