"""`ghost`: contours of the photo that stand twice, beside themselves, as where a moved picture is blended with itself.

Grey at 512 px becomes a field of gradients, cut into windows. In each, the result's field is correlated with the source's
at every displacement of up to 16 px (of 1024). One copy of the source, moved or not, softer or not, makes one peak, around
which the source's own correlation with itself repeats; what is left of a *second* peak, 5 px away or more, is a second copy.
Its height as a share of the first is the window's value. The metric is the mean over what changed, by contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.metrics.faces import Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import Tools

SIDE = 512  # px; contours are wider than 2 px of 1024, skin's grain is not
WINDOW, STRIDE = 48, 24
REACH = 8
APART = 2.5
_SPECTRUM = WINDOW + 2 * REACH  # no displacement that is read wraps around
EXPLAINED = 0.5  # correlation below which a window is another picture's, not the source's moved
FAINT = 0.3  # a second peak below this share of the first counts nothing: unrelated contours reach it
CHANGED = 0.3  # share of differing energy from which a window counts in full
LEAST = 0.03  # share of the picture's energy by which is divided at least, so that a few odd windows are not the whole


@dataclass(frozen=True)
class Contours:
    """Gradient windows of one picture: `field` N x 2 x K x K, faded to their borders; `energy` N; `spectrum` of `field`."""

    field: Tensor
    energy: Tensor
    spectrum: Tensor

    @classmethod
    def of(cls, grey: Tensor) -> Contours:
        """From 1 x H x W grey levels, H a multiple of 512."""
        small = F.avg_pool2d(grey[None], grey.shape[-1] // SIDE)
        across = small[..., 1:-1, 2:] - small[..., 1:-1, :-2]
        down = small[..., 2:, 1:-1] - small[..., :-2, 1:-1]
        cut = torch.cat([across, down], dim=1)[0].unfold(-2, WINDOW, STRIDE).unfold(-2, WINDOW, STRIDE)
        fade = torch.hann_window(WINDOW, periodic=False, device=grey.device)
        field = cut.permute(1, 2, 0, 3, 4).reshape(-1, 2, WINDOW, WINDOW) * fade[:, None] * fade
        return cls(field, field.square().sum(dim=(1, 2, 3)), torch.fft.rfft2(field, s=(_SPECTRUM, _SPECTRUM)))


def correlation(one: Contours, other: Contours, reach: int) -> Tensor:
    """N x (2 reach + 1) x (2 reach + 1) in [-1, 1]: of one's windows with the other's, displaced by -reach ... reach px."""
    product = (one.spectrum.conj() * other.spectrum).sum(dim=1)
    surface = torch.fft.irfft2(product, s=(_SPECTRUM, _SPECTRUM)).roll((reach, reach), (-2, -1))
    scale = (one.energy * other.energy).sqrt().clamp_min(1e-6)
    made: Tensor = surface[:, : 2 * reach + 1, : 2 * reach + 1] / scale[:, None, None]
    return made


def second_copies(source: Contours, result: Contours, itself: Tensor) -> Tensor:
    """N values in [0, 1]: how strong each window's second copy of the source is; `itself` = correlation to 2 REACH."""
    surface = correlation(source, result, REACH)
    first, place = surface.flatten(1).max(dim=1)
    rows, columns = place // surface.shape[-1], place % surface.shape[-1]
    steps = torch.arange(surface.shape[-1], device=place.device)
    dy, dx = steps - rows[:, None], steps - columns[:, None]
    window = torch.arange(len(place), device=place.device)[:, None, None]
    one_copy = first[:, None, None] * itself[window, (dy + 2 * REACH)[:, :, None], (dx + 2 * REACH)[:, None, :]]
    # A blurred copy's only peak is wider than its source's: its flank is no second copy, so that only peaks count.
    peak = surface >= F.max_pool2d(surface[:, None], 3, 1, 1)[:, 0]
    apart = dy.square()[:, :, None] + dx.square()[:, None, :] >= APART**2
    second = ((surface - one_copy) * (peak & apart)).flatten(1).amax(dim=1)
    share = ((second / first.clamp_min(1e-6) - FAINT) / (1 - FAINT)).clamp(0, 1)
    return torch.where(first >= EXPLAINED, share, 0)


def ghost(source: Contours, result: Contours, itself: Tensor) -> Tensor:
    """One value in [0, 1]: the mean of `second_copies`, windows weighted by the source's contrast and by their change."""
    differing = (result.field - source.field).square().sum(dim=(1, 2, 3))
    changed = (differing / (source.energy + result.energy).clamp_min(1e-6) / CHANGED).clamp(0, 1)
    weight = source.energy * changed
    least = (LEAST * source.energy.sum()).clamp_min(1e-6)
    return (second_copies(source, result, itself) * weight).sum() / torch.maximum(weight.sum(), least)


class Ghost:
    """`ghost`: 0 for the photo and for one that is moved, blurred, tinted or grainy; about 0.6 for a double exposure."""

    name = "ghost"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values in [0, 1]}."""
        sources = trio.source.memo(self.name, lambda: [_reference(grey) for grey in trio.source.grey])
        pairs = zip(sources, trio.result.grey, strict=True)
        return {self.name: torch.stack([ghost(source, Contours.of(grey), itself) for (source, itself), grey in pairs])}


def _reference(grey: Tensor) -> tuple[Contours, Tensor]:
    """A source's contours, and their correlation with themselves."""
    contours = Contours.of(grey)
    return contours, correlation(contours, contours, 2 * REACH)


@metrics.register(Ghost.name, "share of changed contours that stand twice", "lower", of_edits=True)
def _build(_: Tools) -> Ghost:
    return Ghost()
