"""Fitting directions where the truth is known: attributes that are linear in w, correlated through the distribution."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from pipelines.models.faces.attributes import MEASURED
from pipelines.training.tasks.direction_fit import Bench, Sample, calibrate, describe_fit, gradients, steps_from
from pipelines.training.tasks.direction_recipes import Recipe, recipe_vector
from pipelines.training.tasks.directions import SURE, _readings
from pipelines.types import U8Image

NAMES = ("a", "b")
DIM = 12


def world() -> tuple[Sample, np.ndarray, np.ndarray, np.ndarray]:
    """w with correlated coordinates; attribute k = truth_k . w + noise; a and b share half of their causes."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((DIM, DIM)) * np.linspace(0.2, 2, DIM)[:, None]
    mean = rng.standard_normal(DIM)
    w = mean + rng.standard_normal((4000, DIM)) @ mix
    truth = rng.standard_normal((2, DIM))
    truth[1] = 0.7 * truth[0] + 0.7 * truth[1]
    values = w @ truth.T + 0.3 * rng.standard_normal((4000, 2))
    eigenvalues, vectors = np.linalg.eigh(mix.T @ mix)
    whiten = vectors / np.sqrt(eigenvalues)
    return Sample(w.astype(np.float32), values), mean.astype(np.float32), whiten.astype(np.float32), truth


def test_a_step_moves_its_attribute_by_one_deviation_and_no_other() -> None:
    sample, mean, whiten, truth = world()
    assert abs(np.corrcoef(sample.values.T)[0, 1]) > 0.4  # the plain regression direction would drag b along with a
    b, r2 = gradients(sample, mean, whiten)
    assert (r2 > 0.95).all()
    steps = steps_from(b, whiten)
    moved = (steps @ truth.T) / sample.values.std(0)
    assert np.allclose(moved, np.eye(2), atol=0.05)


def test_a_recipe_moves_what_it_names_and_holds_the_rest() -> None:
    sample, mean, whiten, truth = world()
    b, _ = gradients(sample, mean, whiten)
    vector = recipe_vector(Recipe({"b": 2.0}, (0, 5), "skin", "face", "more of b"), b, NAMES, whiten)
    assert np.allclose((vector @ truth.T) / sample.values.std(0), (0, 2), atol=0.1)


def test_a_recipe_leaves_free_what_it_does_not_hold() -> None:
    sample, mean, whiten, truth = world()
    b, _ = gradients(sample, mean, whiten)
    held = recipe_vector(Recipe({"b": 1.0}, (0, 5), "skin", "face", "b"), b, NAMES, whiten)
    free = recipe_vector(Recipe({"b": 1.0}, (0, 5), "skin", "face", "b", held=()), b, NAMES, whiten)
    assert np.linalg.norm(free) < np.linalg.norm(held)  # the shorter step takes along what hangs together with b
    assert (free @ truth.T)[0] > 0.2 * (free @ truth.T)[1]


def test_noise_is_not_taken_for_a_direction() -> None:
    sample, mean, whiten, _ = world()
    shuffled = Sample(sample.w, np.random.default_rng(1).permutation(sample.values))
    _, r2 = gradients(shuffled, mean, whiten)
    assert (r2 < 0.05).all()


class Glass:
    """A generator whose picture shows its code: attribute a = row 3's first coordinate, b = its second."""

    num_ws = 18
    device = torch.device("cpu")

    def preview(self, w: torch.Tensor) -> object:
        image = torch.zeros(len(w), 3, 4, 4)
        image[:, 0] = (w[:, 3, 0] / 10)[:, None, None]
        image[:, 1] = (w[:, 3, 1] / 10)[:, None, None]
        return type("S", (), {"image": image})()


class Reader:
    def measure(self, images: list[U8Image]) -> dict[str, np.ndarray]:
        values = np.stack([image[0, 0, :2] for image in images]).astype(np.float32) / 127.5 - 1
        return {"a": 10 * values[:, 0], "b": 10 * values[:, 1] + 3 * values[:, 0]}


def test_calibration_takes_out_what_leaks_and_sets_the_unit() -> None:
    bench = Bench(
        Glass(), Reader(), lambda images: images.mean(dim=(2, 3)), NAMES, np.array([2.0, 1.0]), torch.zeros(4, 2)
    )
    vectors, spans = np.array([[1.0, 0.0], [0.0, 1.0]]), [(0, 17), (2, 5)]
    for _ in range(3):
        vectors = calibrate(bench, vectors, spans, 4)
    fits = [describe_fit(bench, vectors[k], spans[k], k, 4) for k in (0, 1)]
    assert abs(fits[0].curve["+2"] - 2) < 0.15
    assert abs(fits[1].curve["-1"] + 1) < 0.15
    assert abs(fits[0].leakage["b"]) < 0.15  # uncalibrated: 0.6 per unit
    assert bench.response(np.array([0.0, 1.0]), (4, 17), 1.0, 4)[0].tolist() == [0.0, 0.0]  # row 3 is not touched


def test_codes_are_read_for_what_is_held() -> None:
    """The reading is the attribute in units of `SURE`, of all that a code says of it."""
    sample, mean, whiten, truth = world()
    everything = np.zeros((len(sample.w), len(MEASURED)))
    everything[:, MEASURED.index("gender")] = sample.values[:, 0]
    everything += 1e-3 * np.random.default_rng(1).standard_normal(everything.shape)
    generator = SimpleNamespace(w_avg=torch.from_numpy(mean), w_whiten=torch.from_numpy(whiten))
    look, offset = _readings(generator, Sample(sample.w, everything))["gender"]
    read = torch.from_numpy(sample.w[:50]) @ look + offset
    np.testing.assert_allclose(read.numpy(), sample.w[:50] @ truth[0] / SURE, atol=0.2)
