"""Photo and edited render as one picture without ghosts: contours are of one of them, tone goes over from one to the other.

A mask between 0 and 1 shows the contours of both at once. So shares that are neither are made firm for whatever is finer than
`TONE`, and stay soft for what is wider, as blends of several bands do (Burt and Adelson, ACM Transactions on Graphics 1983).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.diffcam.deghost import Decision
from pipelines.stages.compose.filters import blur, enlarge, smoothstep
from pipelines.stages.compose.state import Prepared
from pipelines.stages.compose.tone import keep_tint

TONE = 6.0  # px of 256
EDITED = (0.4, 0.6)  # share of the edited render, of which contours are the photo's below and the render's above
ALONG = 0.2  # both of them are lower by this where cheeks go along with a mouth
CARRIED = (0.6, 0.85)  # the same of the photo's detail upon the render: as a whole or not at all


def resolved(state: Prepared, edited: Tensor, decision: Decision, along: Tensor | None = None) -> Tensor:
    """n x 3 x R x R. Where all of the decision is 0 the photo stays to the last bit.

    Args:
        edited: n x 3 x R x R. along: n x 1 x 256 x 256 in [0, 1], where cheeks go along with a mouth; None: nowhere.
    """
    share, factor = decision.share, state.factor
    firm = smoothstep(share if along is None else share + ALONG * along, *EDITED)
    carried = firm * smoothstep(decision.detail / share.clamp_min(1e-6), *CARRIED)
    tone = (share - firm) * blur(resize_area(edited, share.shape[-1]) - state.photo, TONE) + decision.tint
    images = state.images
    made = images + enlarge(firm, factor) * (edited - images)
    made = made + enlarge(carried, factor) * (images - state.base) + enlarge(tone, factor)
    touched = enlarge(share + decision.tint.abs().amax(dim=1, keepdim=True), factor) > 0
    return torch.where(touched, keep_tint(made, state.tint), images)
