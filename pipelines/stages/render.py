"""Codes, residuals and a face's own generator weights to pictures: the only place that knows how they come together.

A residual is added to the plain feature of the codes at its point; everything below that point is not computed again. Deltas
(pivotal tuning) are added to the generator's weights for one face and taken back to the bit afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pipelines.types import Generator, Injection, Inversion, Point, Synthesis

PREVIEW = 256  # px: the size that a generator's cheap head makes
LEFT, RIGHT = "/left", "/right"  # of a weight whose delta is kept as a product: rows x rank, rank x columns


def render(
    generator: Generator,
    inversion: Inversion,
    latents: Tensor | None = None,
    features: Mapping[Point, Tensor] | None = None,
    residuals: Mapping[Point, Tensor] | None = None,
    collect: tuple[Point, ...] = (),
    size: int | None = None,
) -> Synthesis:
    """The picture of an inversion, as it is or edited.

    Args:
        generator: of these codes.
        inversion: n faces; its own latents and residuals are used where no others are given.
        latents: n x L x 512, edited.
        features: plain features that are known already, of the codes below them.
        residuals: point -> n x C x r x r, as an edit carries them.
        collect: points whose plain features are wanted.
        size: None: the full picture; 256: through the generator's cheap head.

    Returns:
        image n x 3 x R x R, not clamped; plain features at `collect`, at every residual's point, and those given.
    """
    latents = inversion.latents if latents is None else latents
    residuals = inversion.residuals if residuals is None else residuals
    known = dict(features or {})

    def one(latents: Tensor, known: dict[Point, Tensor], residuals: Mapping[Point, Tensor]) -> Synthesis:
        make = generator.preview if size == PREVIEW else generator.synthesize
        wanted = tuple(point for point in dict.fromkeys((*residuals, *collect)) if point not in known)
        if not residuals:
            made = make(latents, collect=wanted)
            return Synthesis(made.image, {**known, **made.features})
        if wanted:
            known = {**known, **generator.features(latents, wanted)}
        inject: dict[Point, Injection] = {point: known[point] + residual for point, residual in residuals.items()}
        return Synthesis(make(latents, inject=inject).image, known)

    return _each(generator, inversion, one, latents, known, residuals)


def plain_features(
    generator: Generator, inversion: Inversion, latents: Tensor, points: tuple[Point, ...]
) -> dict[Point, Tensor]:
    """Features of codes n x L x 512 at `points`, no residual added; nothing above the highest point is computed."""
    if not points:
        return {}
    made = _each(generator, inversion, lambda codes: Synthesis(codes, generator.features(codes, points)), latents)
    return made.features


def _each(generator: Generator, inversion: Inversion, run: Callable[..., Synthesis], *given: Any) -> Synthesis:
    """`run` for all faces at once; where each has weights of its own, face by face."""
    if not inversion.deltas:
        return run(*given)
    made = []
    for index in range(len(inversion)):
        with tuned(generator, {name: delta[index] for name, delta in inversion.deltas.items()}):
            made.append(run(*(_face(value, index) for value in given)))
    points = made[0].features
    features = {point: torch.cat([each.features[point] for each in made]) for point in points}
    return Synthesis(torch.cat([each.image for each in made]), features)


def _face(value: Any, index: int) -> Any:
    if isinstance(value, Mapping):
        return {key: tensor[index : index + 1] for key, tensor in value.items()}
    return value[index : index + 1]


@contextmanager
def tuned(generator: Generator, deltas: Mapping[str, Tensor]) -> Iterator[None]:
    """The generator with `deltas` added to its weights; afterwards it is what it was, to the bit.

    Args:
        deltas: a weight's name -> its delta, of its shape; or, with the name's ending `LEFT` and `RIGHT`, two factors of it.
    """
    state: dict[str, Tensor] = generator.state_dict(keep_vars=True)  # type: ignore[attr-defined]
    names = dict.fromkeys(name.removesuffix(LEFT).removesuffix(RIGHT) for name in deltas)
    before = {name: state[name].detach().clone() for name in names}
    try:
        with torch.no_grad():
            for name, value in before.items():
                state[name].add_(whole_delta(deltas, name, value))
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                state[name].copy_(value)


def whole_delta(deltas: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """The delta of the weight called `name`, of its shape and kind."""
    if name in deltas:
        return deltas[name].to(weight).reshape(weight.shape)
    product: Tensor = deltas[name + LEFT].to(weight) @ deltas[name + RIGHT].to(weight)
    return product.reshape(weight.shape)
