"""Directions of our own, from the generator's faces and *measured* attributes (`pipelines.training.tasks.directions`).

1. Draw faces, measure every attribute on each (landmark geometry, age and gender networks).
2. Ridge regression of each standardised attribute on whitened w gives its gradient (rows of B, attributes x 512).
3. A direction must move one attribute by one standard deviation and leave the others: the shortest whitened step with
   B d = e_k is d = pinv(B) e_k. "Shortest" keeps the code near the generator's distribution.
4. What is linear in w is not quite linear in the picture: on fresh faces, the rows that act best are chosen, one Newton
   step with the measured response matrix takes out what still leaks, and the step size is calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.images.pixels import to_uint8
from pipelines.training.run import Report
from pipelines.types import F32Array, Generator, U8Image

F64Array = npt.NDArray[np.float64]

# Rows from 9 on hold colour and texture, which refiners fit to the photo: an edit that turns them breaks that fit.
SPANS = ((0, 3), (0, 5), (0, 7), (0, 8), (2, 5), (2, 8), (3, 7), (4, 8))
STRENGTHS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
BLOCK = 50  # faces with a seed of their own
LONGEST = (
    4.5  # of one unit, in W (the generator's own codes are 11 apart): an attribute with two poles, as gender, must
)
# not be driven from one to the other per unit, out of the range where faces are found at all


class Meter(Protocol):
    """Measures attributes on pictures: name -> n values, NaN where no face was found."""

    def measure(self, images: list[U8Image]) -> dict[str, F32Array]: ...


class Describe(Protocol):
    """Identity descriptors of pictures, n x D, compared by Euclidean distance."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass
class Sample:
    """Faces and what was measured on them: w n x 512 (float32), values n x attributes (raw units)."""

    w: F32Array
    values: F64Array


@dataclass
class Fit:
    """One attribute's direction: a W vector (512), the rows it acts on, and its measurements."""

    vector: F64Array
    layers: tuple[int, int]
    curve: dict[str, float] = field(default_factory=dict)
    leakage: dict[str, float] = field(default_factory=dict)
    identity: float = 0.0


@torch.no_grad()
def look(generator: Generator, codes: Tensor) -> list[U8Image]:
    """Codes -> 256 px pictures, one at a time (a CPU gains nothing from wider batches)."""
    return [image for code in codes.split(1) for image in to_uint8(generator.preview(code).image)]


def draw(generator: Generator, meter: Meter, names: Sequence[str], count: int, seed: int, report: Report) -> Sample:
    """Draw and measure faces; those in which something cannot be measured are left out."""
    codes, rows = [], []
    for start in range(0, count, BLOCK):
        rng = torch.Generator().manual_seed(seed + start)
        with torch.no_grad():
            w = generator.map(torch.randn(min(BLOCK, count - start), 512, generator=rng).to(generator.device))
        measured = meter.measure(look(generator, w))
        rows.append(np.stack([measured[name] for name in names], axis=1))
        codes.append(w.cpu().numpy())
        report({"drawn": start + len(w), "of": count})
    values = np.concatenate(rows).astype(np.float64)
    kept = np.isfinite(values).all(axis=1)
    return Sample(np.concatenate(codes)[kept], values[kept])


def gradients(sample: Sample, w_avg: F32Array, w_whiten: F32Array) -> tuple[F64Array, F64Array]:
    """Ridge regression, the penalty chosen on a held-out fifth -> (B: attributes x 512 in whitened units, R2 held out)."""
    u = (sample.w - w_avg).astype(np.float64) @ w_whiten.astype(np.float64)
    y = (sample.values - sample.values.mean(0)) / sample.values.std(0)
    cut = len(u) * 4 // 5
    best_rows, best_scores = [], []
    for k in range(y.shape[1]):
        scored = []
        for penalty in (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0):
            beta = np.linalg.solve(u[:cut].T @ u[:cut] + penalty * np.eye(u.shape[1]), u[:cut].T @ y[:cut, k])
            rest = y[cut:, k] - u[cut:] @ beta
            scored.append((1 - float(rest.var() / y[cut:, k].var()), penalty))
        score, penalty = max(scored)
        best_rows.append(np.linalg.solve(u.T @ u + penalty * np.eye(u.shape[1]), u.T @ y[:, k]))
        best_scores.append(score)
    return np.stack(best_rows), np.array(best_scores)


def steps_from(b: F64Array, w_whiten: F32Array) -> F64Array:
    """B (attributes x 512, whitened) -> conditioned W steps, attributes x 512: one moves, the others stay."""
    back = np.linalg.pinv(w_whiten.astype(np.float64))
    return np.asarray(np.linalg.pinv(b).T @ back)


class Bench:
    """Fresh faces on which responses are measured, in standard deviations."""

    def __init__(
        self, generator: Generator, meter: Meter, describe: Describe, names: Sequence[str], std: F64Array, codes: Tensor
    ) -> None:
        self.generator, self.meter, self.describe, self.names, self.std = generator, meter, describe, list(names), std
        self.codes = codes.unsqueeze(1).repeat(1, generator.num_ws, 1)
        self.start, self.faces = self._measure(self.codes)

    def _measure(self, codes: Tensor) -> tuple[F64Array, Tensor]:
        images = look(self.generator, codes)
        measured = self.meter.measure(images)
        values = np.stack([measured[name] for name in self.names], axis=1).astype(np.float64) / self.std
        with torch.no_grad():
            faces = torch.cat([self.describe(self.generator.preview(code).image) for code in codes.split(1)])
        return values, faces

    def response(
        self, vector: F64Array, layers: tuple[int, int], strength: float, count: int
    ) -> tuple[F64Array, float]:
        """Mean change of every attribute (standard deviations) and mean identity distance, over `count` faces."""
        step = torch.zeros(self.generator.num_ws, vector.size)
        step[layers[0] : layers[1] + 1] = strength * torch.from_numpy(vector).float()
        values, faces = self._measure(self.codes[:count] + step.to(self.codes))
        moved = np.nanmean(values - self.start[:count], axis=0)
        return moved, float((faces - self.faces[:count]).norm(dim=1).nanmean())


def choose_layers(bench: Bench, vector: F64Array, k: int, count: int) -> tuple[int, int]:
    """The rows that move attribute k far for what they cost: other attributes and identity."""
    scored = []
    for span in SPANS:
        up, lost_up = bench.response(vector, span, 1.5, count)
        down, lost_down = bench.response(vector, span, -1.5, count)
        slope = (up - down) / 3
        others = np.abs(np.delete(slope, k)).sum()
        gain = slope[k]
        if gain > 0.15:
            scored.append(((others + 0.75 * (lost_up + lost_down)) / gain, span))
    return min(scored)[1] if scored else SPANS[-1]


def calibrate(bench: Bench, vectors: F64Array, spans: list[tuple[int, int]], count: int) -> F64Array:
    """One Newton step: mix the vectors so that the measured response matrix (slope at +-1) becomes the identity.

    A vector may only be mixed with others through the rows it acts on; the mix is damped, since rows differ.
    """
    slopes = []
    for vector, span in zip(vectors, spans, strict=True):
        up, _ = bench.response(vector, span, 1.0, count)
        down, _ = bench.response(vector, span, -1.0, count)
        slopes.append((up - down) / 2)
    matrix = np.stack(slopes)  # row: direction, column: attribute
    own = np.clip(np.diagonal(matrix), 0.5, 2.0)  # a noisy slope near zero must not throw the code out of range
    scaled = vectors / own[:, None]
    leak = matrix / own[:, None]
    np.fill_diagonal(leak, 0.0)
    return np.asarray(scaled - 0.8 * leak @ scaled)


def describe_fit(bench: Bench, vector: F64Array, span: tuple[int, int], k: int, count: int) -> Fit:
    """Scale to one standard deviation per unit (mean slope over +-1 and +-2), then measure curve and leakage."""
    for _ in range(2):
        slope = np.mean([bench.response(vector, span, s, count)[0][k] / s for s in (-2.0, -1.0, 1.0, 2.0)])
        vector = vector / np.clip(np.nan_to_num(slope, nan=1.0), 0.5, 2.0)
    fit = Fit(vector * min(1.0, LONGEST / float(np.linalg.norm(vector))), span)
    vector = fit.vector
    responses = {s: bench.response(vector, span, s, count) for s in STRENGTHS}
    curve = {f"{s:+g}": round(float(responses[s][0][k]), 3) for s in STRENGTHS}
    fit.curve = {strength: moved for strength, moved in curve.items() if np.isfinite(moved)}
    slopes = (responses[1.0][0] - responses[-1.0][0]) / 2
    fit.leakage = {name: round(float(slopes[i]), 3) for i, name in enumerate(bench.names) if i != k}
    fit.identity = round((responses[2.0][1] + responses[-2.0][1]) / 2, 3)
    return fit


def useful_range(curve: dict[str, float]) -> tuple[float, float]:
    """The strengths, outwards from 0, up to which the attribute still moves on (and faces are still found)."""
    lowest = highest = 0.0
    for sign, strengths in ((-1, (-1.0, -2.0, -3.0)), (1, (1.0, 2.0, 3.0))):
        reached = 0.0
        for strength in strengths:
            moved = sign * curve.get(f"{strength:+g}", -np.inf)
            if moved < reached + 0.1:
                break
            reached = moved
            lowest, highest = min(lowest, strength), max(highest, strength)
    return lowest, highest
