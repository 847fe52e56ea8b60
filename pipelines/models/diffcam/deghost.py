"""A small deghosting network that decides between layers instead of drawing a picture.

GLEAN as published (Song et al., arXiv 2207.08134) makes the whole photo anew from 128 px. A ghost is two pictures at once
where a mask is neither 0 nor 1, so this network says, at 256 px, which of them is to be seen: the photo, the edited render,
or the edited render with the detail that the photo has beyond its own render. Its answer is a correction of the plain
composite, and it is 0 wherever the mask is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.sdic.lean import Residual, act, conv

WIDTHS = (32, 48, 64, 96)  # of the hourglass at 128, 64, 32 and 16 px
SEEN = 13  # photo, render, edited render, edited less unedited, mask
ONSET = 0.1  # of the mask, from which corrections count in full
RESERVE = -3.0  # logit of every correction at first
TINT = 0.25  # largest correction of colour
STILL = 0.1  # change of the render, of a picture in [-1, 1], at which the photo's detail falls to 1/e


class Decision(NamedTuple):
    """What to show, at 256 px; all 0 where the mask is 0.

    Attributes:
        share: n x 1, of the edited render, in [0, 1]; the rest is the photo's.
        detail: n x 1, of the photo's detail beyond its own render, in [0, share].
        tint: n x 3, added.
    """

    share: Tensor
    detail: Tensor
    tint: Tensor


class DeghostNet(nn.Module):
    """(photo, unedited render, edited render, mask), n x 3 (and n x 1) x 256 x 256 -> `Decision`."""

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = conv(4 * SEEN, a)
        self.down = nn.ModuleList((conv(a, b, stride=2), conv(b, c, stride=2), conv(c, d, stride=2)))
        self.work = nn.ModuleList((Residual(b), Residual(c), Residual(d)))
        self.up = nn.ModuleList((conv(d, c, 1), conv(c, b, 1), conv(b, a, 1)))
        self.merge = nn.ModuleList((Residual(c), Residual(b), Residual(a)))
        self.head = conv(a, 4 * 6, zero=True)

    def forward(self, photo: Tensor, base: Tensor, edited: Tensor, mask: Tensor) -> Decision:
        seen = torch.cat((photo, base, edited, edited - base, mask), dim=1)
        x = self.stem(F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for down, work in zip(self.down, self.work, strict=True):
            skips.append(x)
            x = work(down(act(x)))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(skips.pop() + F.interpolate(up(x), scale_factor=2.0))
        more, less, detail, tint = F.pixel_shuffle(self.head(act(x)), 2).split((1, 1, 1, 3), dim=1)
        gate = (mask / ONSET).clamp(max=1)
        more, less = torch.sigmoid(more + RESERVE), torch.sigmoid(less + RESERVE)
        share = mask + gate * (more * (1 - mask) - less * mask)
        kept = share * torch.sigmoid(detail + RESERVE) * stillness(base, edited)
        return Decision(share, kept, gate * TINT * torch.tanh(tint))


def stillness(base: Tensor, edited: Tensor) -> Tensor:
    """n x 1 x H x W in (0, 1]: less where the edit moves contours, as the photo's detail of before belongs elsewhere there."""
    gap = (edited - base).abs().mean(dim=1, keepdim=True)
    near = F.avg_pool2d(F.pad(gap, (4, 4, 4, 4), mode="replicate"), 9, stride=1)
    return torch.exp(-(near / STILL).square())


def decided(photo: Tensor, base: Tensor, edited: Tensor, decision: Decision) -> Tensor:
    """The picture that a decision makes, at any size: n x 3 x R x R; the decision is enlarged to it.

    Where it is 0 the photo stays to the last bit.
    """
    times = photo.shape[-1] // decision.share.shape[-1]
    if times > 1:
        large = (F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False) for x in decision)
        decision = Decision(*large)
    changed = decision.share * (edited - photo) + decision.detail * (photo - base) + decision.tint
    return photo + changed


def load_deghost(tensors: Mapping[str, Tensor]) -> DeghostNet:
    """A frozen network in eval mode, float32, on the CPU, from its state dict in any precision.

    Raises:
        WeightsError: these are no weights of a lean deghosting network.
    """
    try:
        widths = tuple(len(tensors[f"{name}.bias"]) for name in ("stem", "down.0", "down.1", "down.2"))
        network = DeghostNet(widths)  # type: ignore[arg-type]
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"these are no weights of a lean deghosting network: {reason}") from None
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
