"""SDIC: compensate the codes and the 64 px feature for what an inversion lacks (Zhang et al., arXiv 2312.07079).

`SDIC` joins the two official networks; `pipelines.models.sdic.lean` is our own small one. Both are called alike, see
`SDICNetwork`, and both change the same feature, so that `pipelines.stages.compensate.sdic` need not know which it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.sdic.dicn import DICN
from pipelines.models.sdic.dipn import DIPN

# Parts of published checkpoints; before a rename they were called CGI and residue.
PREFIXES = {"DIP.": "DIP.", "CGI.": "DIP.", "SAF.": "SAF.", "residue.": "SAF."}
# Layers that the published classes own and never run; a trailing dot stands for a whole sub-module.
DEAD = (
    "DIP.stem_2.",
    "DIP.stem_4.",
    "DIP.spx.",
    "DIP.spx_2.",
    "DIP.spx_4.",
    "DIP.semantic.",
    "DIP.agg.",
    "DIP.hourglass_fusion.conv1_up.bn.",
    "SAF.aff1.",
    "SAF.conv1.",
    "SAF.aff2.",
    "SAF.aff1d.agg.",
)


class Compensation(NamedTuple):
    """What a network found for n faces.

    Attributes:
        feature: F', n x C x 64 x 64, takes the place of the plain feature of the codes.
        latents: W', n x L x 512.
        discrepancy: the map, n x 3 x 256 x 256, for looking at.
    """

    feature: Tensor
    latents: Tensor
    discrepancy: Tensor


class SDICNetwork(Protocol):
    """(source, base) n x 3 x 256 x 256 RGB in [-1, 1], feature n x C x 64 x 64, codes n x L x 512 -> `Compensation`."""

    def __call__(self, source: Tensor, base: Tensor, feature: Tensor, latents: Tensor) -> Compensation: ...


class SDIC(nn.Module):
    """The official pair of networks, as `SDICNetwork`. Frozen weights come through `load_sdic`.

    In eval mode faces pass one at a time: the 3-D volume of one face takes 100 MB, and batch norm with stored
    statistics makes the result the same either way.
    """

    def __init__(self, rows: int = 18) -> None:
        super().__init__()
        self.DIP = DIPN()
        self.SAF = DICN(rows)

    def forward(self, source: Tensor, base: Tensor, feature: Tensor, latents: Tensor) -> Compensation:
        width = len(source) if self.training else 1
        maps = [self.DIP(a, b) for a, b in zip(source.split(width), base.split(width), strict=True)]
        discrepancy = torch.cat(maps)
        compensated, codes = self.SAF(discrepancy, feature, latents)
        return Compensation(compensated, codes, discrepancy)


def official_resize(image: Tensor) -> Tensor:
    """n x 3 x R x R -> n x 3 x 256 x 256: clamped to [-1, 1], bilinear *without* antialiasing, as the official code."""
    return F.interpolate(image.clamp(-1, 1), (256, 256), mode="bilinear", align_corners=False)


def sdic_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Key names of a published checkpoint -> those of `SDIC`.

    Accepts old and new prefixes; leaves out dead layers, and everything that belongs to other networks (encoder,
    generator, losses).
    """
    state = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("state_dict.").removeprefix("module.")
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            continue
        name = PREFIXES[prefix] + name.removeprefix(prefix)
        if not name.startswith(DEAD):
            state[name] = tensor
    return state


def load_sdic(tensors: Mapping[str, Tensor]) -> SDIC:
    """A frozen `SDIC` in eval mode with the weights of a published checkpoint; float32, on the CPU.

    Raises:
        WeightsError: a tensor is missing, superfluous or has another shape; the message names the first.
    """
    state = sdic_state(tensors)
    network = SDIC(rows=_rows(state))
    own = network.state_dict()
    # Step counters of batch norm decide nothing at inference; some files lack them.
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    wrong = [f"lacks '{name}'" for name in own if name not in state]
    wrong += [f"holds '{name}', which SDIC does not know" for name in state if name not in own]
    wrong += [
        f"holds '{name}' of shape {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f"these are no SDIC weights: the file {wrong[0]}; convert the published checkpoint again")
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


def _rows(state: Mapping[str, Tensor]) -> int:
    last = state.get("SAF.aff1d.sen.3.bias")
    return len(last) if last is not None and last.ndim == 1 and len(last) > 0 else 18
