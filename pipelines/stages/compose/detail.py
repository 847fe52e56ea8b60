"""`--compose detail`: the picture of an edit is the photo, changed only where the edit is.

Three pictures of one face, the photo S, its unedited render I and the edited render E, tell what the edit means: E against I.
That meaning is carried over to S in one of three ways (`shape`, `skin`, `head`), inside a mask drawn from landmarks, never
where something covers the face. The residual S - I that follows the edit is the idea of distortion consultation (Wang et
al., HFGI, CVPR 2022) done in pixels; motion comes from the renders alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from pipelines.stages.compose import head, shape, skin
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.manners import MANNERS, Manner, Term, in_order, manner_for
from pipelines.stages.compose.regions import known_landmarks
from pipelines.stages.compose.state import WORK, Composition, Prepared, joined, prepared
from pipelines.types import Point, Synthesis


class Faces(Protocol):
    """Aligned source faces: `images` n x 3 x R x R in [-1, 1]; `landmarks` n x 68 x 2 in shares of the side, or None."""

    @property
    def images(self) -> Tensor: ...

    @property
    def landmarks(self) -> Tensor | None: ...


class Asked(Protocol):
    """An edit: (attribute, strength) pairs."""

    @property
    def terms(self) -> Sequence[Term]: ...


class DetailComposer:
    """See the module. Faces are composed one by one on a CPU, as a batch elsewhere; results do not depend on the batch.

    Args:
        manners: attribute -> how its edits are composed; `manners.measured_manner` finds a direction's without a card.
    """

    name = "detail"
    version = "1"
    points: tuple[Point, ...] = ()  # pictures are enough

    def __init__(self, manners: Mapping[str, Manner] = MANNERS) -> None:
        self.manners = manners

    @torch.no_grad()
    def prepare(self, faces: Faces, inversion: Any, base: Synthesis) -> list[Prepared]:
        """One entry a face on a CPU, one for all elsewhere; `inversion` is not read."""
        images, made = _large(faces.images), _large(base.image)
        landmarks = known_landmarks(faces.landmarks, images)
        if images.device.type != "cpu":
            return [prepared(images, landmarks, made)]
        return [prepared(images[i : i + 1], landmarks[i : i + 1], made[i : i + 1]) for i in range(len(images))]

    @torch.no_grad()
    def compose(self, state: list[Prepared], edited: Synthesis, edit: Asked) -> Composition:
        """The pictures of `edit`, rendered as `edited`.

        Of several attributes the first in order (head, shape, skin) decides the way: `compose_steps` does them one by one.
        """
        terms = in_order(edit.terms, self.manners)
        side, made = edited.image.shape[-1], _large(edited.image)
        if not terms:
            return _sized(joined([_unchanged(part) for part in state]), side)
        manner = manner_for(terms[0][0], self.manners)
        parts, done = [], 0
        for part in state:
            count = len(part.images)
            parts.append(compose_one(part, made[done : done + count], manner))
            done += count
        return _sized(joined(parts), side)

    def steps(self, edit: Asked) -> tuple[tuple[Term, ...], ...]:
        """The partial sums whose renders `compose_steps` needs after the base, in order; the last is the whole edit."""
        terms = in_order(edit.terms, self.manners)
        return tuple(terms[: count + 1] for count in range(len(terms)))

    @torch.no_grad()
    def compose_steps(
        self, faces: Faces, inversion: Any, base: Synthesis, partial: Sequence[Synthesis], edit: Asked
    ) -> Composition:
        """Several attributes: each step's source is the last step's picture, its renders are neighbouring partial sums.

        Args:
            partial: renders of `steps(edit)`, one each.
        """
        landmarks = known_landmarks(faces.landmarks, faces.images)
        before, result = base, Composition(faces.images, torch.zeros_like(faces.images[:, :1]), landmarks)
        for terms, after in zip(self.steps(edit), partial, strict=True):
            state = self.prepare(_Between(result.image, result.landmarks), inversion, before)
            step = self.compose(state, after, _One((terms[-1],)))
            result = Composition(step.image, torch.maximum(result.mask, step.mask), step.landmarks)
            before = after
        return result


class _Between:
    def __init__(self, images: Tensor, landmarks: Tensor | None) -> None:
        self.images, self.landmarks = images, landmarks


class _One:
    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms


def _large(x: Tensor) -> Tensor:
    """Pictures below the working side as squares of pixels (of small test generators); others as they are."""
    times = WORK // x.shape[-1]
    return x.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) if times > 1 else x


def _sized(made: Composition, side: int) -> Composition:
    """Undo `_large`: one pixel of each square, so that what is the photo's stays so to the last bit."""
    step = made.image.shape[-1] // side
    if step == 1:
        return made
    return Composition(made.image[..., ::step, ::step], made.mask[..., ::step, ::step], made.landmarks)


def compose_one(state: Prepared, edited: Tensor, manner: Manner) -> Composition:
    """One edit of the faces of `state`; edited n x 3 x R x R."""
    if manner.way == "skin":
        image, mask, landmarks = *skin.transfer(state, edited), state.face.points
    elif manner.way == "head":
        image, mask, landmarks = head.turn(state, edited)
    else:
        image, mask, landmarks = shape.reshape(state, edited, manner.region)
    return Composition(image, enlarge(mask, state.factor), landmarks)


def _unchanged(state: Prepared) -> Composition:
    return Composition(state.images, torch.zeros_like(state.images[:, :1]), state.face.points)
