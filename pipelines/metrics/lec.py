"""`lec-NAME`: latent editing consistency (Tov et al., SIGGRAPH 2021, section 6.2).

A code is moved along a direction, drawn, embedded again and moved back. Where the embedder has an editable space in common
with the generator, this returns to the code it started from. A face with generator weights of its own (pivotal tuning) is
drawn with them; residuals are left out: an edit of codes alone knows none. The mean over faces leaves out what lies outside
the 1st to 99th percentile (`pipelines.metrics.summary.trimmed`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.types import Inversion

FACTOR = 3.0
DIRECTIONS = ("age", "yaw", "smile")  # of our own, with a metric each

Render = Callable[[Tensor], Tensor]  # codes n x L x 512 -> pictures n x 3 x R x R, about [-1, 1]
RenderFaces = Callable[[Inversion, Tensor], Tensor]
Embed = Callable[[Tensor], Tensor]  # those pictures -> codes n x L x 512


def about(direction: str) -> str:
    """The definition, in one line."""
    return f"|code - (embed(draw(code + {FACTOR:g} {direction})) - {FACTOR:g} {direction})|, L2 over all rows of W+"


def edit_consistency(codes: Tensor, direction: Tensor, render: Render, embed: Embed, factor: float = FACTOR) -> Tensor:
    """n distances, in units of w (L2 over all rows and channels); 0 means that the edit is undone exactly.

    Args:
        codes: n x L x 512, the embedder's own codes, the average latent included.
        direction: L x 512 (or 1 x 512 for all rows alike).
        render: the generator.
        embed: the embedder, its resizing included.
        factor: how far along the direction.
    """
    shift = factor * direction.to(codes)
    with torch.no_grad():
        image = render(codes + shift)
    again = embed(image).detach()
    distances: Tensor = (codes - (again - shift)).flatten(1).norm(dim=1)
    return distances


class EditConsistency:
    """The metric for one direction, generator and embedder; other arguments as for `edit_consistency`.

    Args:
        name: of the direction.
        render: faces and moved codes n x L x 512 -> pictures, with each face's own generator weights.
    """

    def __init__(self, name: str, direction: Tensor, render: RenderFaces, embed: Embed, factor: float = FACTOR) -> None:
        self.name = f"lec-{name}"
        self._direction = direction
        self._render = render
        self._embed = embed
        self._factor = factor

    def score(self, faces: Inversion) -> Tensor:
        """n values >= 0; lower is better."""
        draw = partial(self._render, faces)
        return edit_consistency(faces.latents, self._direction, draw, self._embed, self._factor)


def _build(direction: str, tools: Tools) -> EditConsistency:
    codes = tools.codes
    codes.open()
    return EditConsistency(direction, codes.direction(direction), codes.render, codes.embed)


for _name in DIRECTIONS:
    metrics.register(f"lec-{_name}", about(_name), "lower", weights=(LANDMARKS,), kind="latent", trim=True)(
        partial(_build, _name)
    )
