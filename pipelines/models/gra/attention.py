"""Selective attention of one stage: for each place of the edited feature a few places of the source that it came from.

Positions are selected hard (the best `keep` keys of a query, as Li et al., arXiv 2402.14398, name it; how is our choice), and
the selected ones are mixed by a softmax. A stage above the coarsest looks only near what its parent chose, so that its cost
grows with the number of places and not with its square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

AROUND = 4  # children a parent offers to a side: its 2 x 2 cells and one more all around


@dataclass(frozen=True)
class Scale:
    """How a match is judged: `sharpness` times the cosine, less `stiffness` times the distance in cells, squared.

    Both are scalars, and trained.
    """

    sharpness: Tensor
    stiffness: Tensor


@dataclass(frozen=True)
class Match:
    """What one stage chose, for each of n x N places (row by row, N = side x side).

    Attributes:
        index: n x N x k, places of the source.
        weights: n x N x k, summing to 1.
        likeness: n x N, the best cosine among the chosen.
    """

    index: Tensor
    weights: Tensor
    likeness: Tensor

    def flow(self, side: int) -> Tensor:
        """Where each place was: n x 2 x side x side, (dx, dy) in cells; 0 = unmoved."""
        own = torch.arange(side * side, device=self.index.device)[None, :, None]
        dx = (self.weights * (self.index % side - own % side)).sum(dim=2)
        dy = (self.weights * (self.index // side - own // side)).sum(dim=2)
        return torch.stack((dx, dy), dim=1).unflatten(2, (side, side))


def tokens(x: Tensor) -> Tensor:
    """n x d x r x r -> n x (r r) x d, of length 1 each."""
    return F.normalize(x.flatten(2).transpose(1, 2), dim=2)


@torch.no_grad()
def search(query: Tensor, key: Tensor, scale: Scale, keep: int, parents: Tensor | None = None) -> Tensor:
    """The best `keep` places of the source for each query: n x N x keep, best first.

    Args:
        query, key: n x N x d, as `tokens` gives them.
        parents: n x N/4 x k, what the stage of half the side chose; None: every place is a candidate (dense).
    """
    side = round(query.shape[1] ** 0.5)
    if parents is None:
        every = torch.arange(side * side, device=query.device)
        logits = scale.sharpness * query @ key.transpose(1, 2) - scale.stiffness * _distance(every[None, None, :], side)
        return logits.topk(min(keep, side * side), dim=2).indices
    # Face by face: what is gathered for one is large, and must not grow with the batch.
    return torch.stack([_near(q, k, scale, keep, near) for q, k, near in zip(query, key, parents, strict=True)])


def _near(query: Tensor, key: Tensor, scale: Scale, keep: int, parents: Tensor) -> Tensor:
    """`search` of one face among the children of its parents' choices: N x keep.

    The four places under one parent have the same candidates, whose keys are therefore gathered once.
    """
    side = round(len(query) ** 0.5)
    index, again = children(parents, side)
    under = _blocks(torch.arange(side * side, device=query.device), side)
    cosine = query[under] @ key[index].transpose(1, 2)  # N/4 x 4 x candidates
    (y, x), (own_y, own_x) = (index // side, index % side), (under // side, under % side)
    far = (y[:, None] - own_y[:, :, None]).square() + (x[:, None] - own_x[:, :, None]).square()
    logits = (scale.sharpness * cosine - scale.stiffness * far).masked_fill(again[:, None], -torch.inf)
    best = logits.topk(min(keep, index.shape[1]), dim=2).indices
    chosen = index[:, None].expand(-1, 4, -1).gather(2, best)
    back = torch.empty_like(under).flatten()
    back[under.flatten()] = torch.arange(side * side, device=query.device)
    return chosen.flatten(0, 1)[back]


def _blocks(places: Tensor, side: int) -> Tensor:
    """The places N of a stage, four by four under their parents: N/4 x 4."""
    half = side // 2
    return places.view(half, 2, half, 2).transpose(1, 2).reshape(half * half, 4)


def children(parents: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Candidates of the places under each parent, and which of them stand twice in a row: both N/4 x (16 k).

    Args:
        parents: N/4 x k, what the places of the stage of half the `side` chose there.
    """
    half = side // 2
    around = torch.arange(AROUND, device=parents.device) - 1
    y = (2 * (parents // half))[:, :, None, None] + around[:, None]
    x = (2 * (parents % half))[:, :, None, None] + around
    offered = (y.clamp(0, side - 1) * side + x.clamp(0, side - 1)).flatten(1).sort(dim=1).values
    return offered, F.pad(offered[:, 1:] == offered[:, :-1], (1, 0))


def match(query: Tensor, key: Tensor, scale: Scale, index: Tensor) -> Match:
    """Weights of the chosen places `index` n x N x k; gradients reach query, key and scale."""
    side = round(query.shape[1] ** 0.5)
    cosine = (gathered(key, index) @ query.unsqueeze(3)).squeeze(3)
    logits = scale.sharpness * cosine - scale.stiffness * _distance(index, side)
    return Match(index, logits.softmax(dim=2), cosine.amax(dim=2))


def mix(found: Match, values: Tensor) -> Tensor:
    """values n x C x r x r, read where `found` says and averaged: the same shape."""
    rows = values.flatten(2).transpose(1, 2)
    mixed = (found.weights.unsqueeze(2) @ gathered(rows, found.index)).squeeze(2)
    return mixed.transpose(1, 2).unflatten(2, values.shape[2:])


def gathered(rows: Tensor, index: Tensor) -> Tensor:
    """rows n x N x d, index n x Q x k -> n x Q x k x d."""
    n, count, width = rows.shape
    first = torch.arange(n, device=rows.device)[:, None, None] * count
    return rows.reshape(n * count, width)[index + first]


def _distance(index: Tensor, side: int) -> Tensor:
    """Squared distance in cells of the places `index` n x N x k (or n x 1 x N: from every place) from their own."""
    own = torch.arange(side * side, device=index.device)[None, :, None]
    return ((index // side - own // side).square() + (index % side - own % side).square()).float()
