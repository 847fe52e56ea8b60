"""The compact encoder: a 256 px face -> W+ in one light pass, for machines without a GPU.

What the published encoder (Tov et al. 2021, e4e: 267 M parameters) does with an IR-SE-50 trunk and one block of strided
convolutions per row, this network does with a MobileNetV2 trunk (Sandler et al. 2018, arXiv 1801.04381) and one shared
head: w from the flattened 8 px map, where every place of the face has weights of its own, and the rows' offsets from
learned row queries that attend to the trunk's 16 and 8 px maps (as in Vaswani et al. 2017). Batch norm always uses its
stored statistics, so that a face's codes do not depend on its batch, in training as in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import MobileNetV2

INPUT = 256
TRUNK = 18  # of the 19 steps of torchvision's trunk: the last widening convolution is left out
_MIDDLE = 13  # after this step the map is 96 x 16 x 16


@dataclass(frozen=True)
class CompactShape:
    """Sizes of the head.

    Attributes:
        width: of the tokens and queries.
        squeeze: channels of the 8 px map before it is flattened for w.
        depth: attention layers of the row queries.
    """

    width: int = 192
    squeeze: int = 64
    depth: int = 2


class _Attend(nn.Module):
    """Row queries look at the tokens once, then each row thinks for itself. All n x rows x width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 6, batch_first=True)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, rows: Tensor, tokens: Tensor) -> Tensor:
        seen, _ = self.attention(self.norm(rows), tokens, tokens, need_weights=False)
        rows = rows + seen
        result: Tensor = rows + self.think(rows)
        return result


class CompactEncoder(nn.Module):
    """RGB faces n x 3 x 256 x 256 in [-1, 1] -> codes n x L x 512, average latent added.

    Args:
        num_ws: L, rows of the generator.
        shape: sizes of the head.

    Attributes:
        w_avg, w_std: the generator's; the network speaks in deviations from them. With zeroed last layers it says w_avg.
        stage: rows 1..stage have offsets of their own, the rest equals row 0 (Tov et al. 2021, progressive training).
    """

    def __init__(self, num_ws: int = 18, shape: CompactShape | None = None) -> None:
        super().__init__()
        shape = shape or CompactShape()
        self.num_ws, self.stage = num_ws, num_ws - 1
        self.trunk = nn.Sequential(*list(MobileNetV2().features)[:TRUNK])
        self.squeeze = nn.Conv2d(320, shape.squeeze, 1)
        self.code = nn.Linear(shape.squeeze * (INPUT // 32) ** 2, 512)
        self.middle = nn.Conv2d(96, shape.width, 1)
        self.coarse = nn.Conv2d(320, shape.width, 1)
        places = (INPUT // 16) ** 2 + (INPUT // 32) ** 2
        self.places = nn.Parameter(torch.randn(places, shape.width) * 0.02)
        self.queries = nn.Parameter(torch.randn(num_ws, shape.width) * 0.5)
        self.layers = nn.ModuleList(_Attend(shape.width) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        self.offsets = nn.Linear(shape.width, 512)
        self.w_avg: Tensor = nn.Buffer(torch.zeros(512))
        self.w_std: Tensor = nn.Buffer(torch.ones(512))
        self.mean = nn.Buffer(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        for last in (self.code, self.offsets):
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def train(self, mode: bool = True) -> CompactEncoder:
        """Training mode for all but the batch norms."""
        super().train(mode)
        for module in self.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def load_trunk(self, imagenet: dict[str, Tensor]) -> None:
        """Start the trunk from torchvision's MobileNetV2 checkpoint (keys `features.N...`)."""
        own = {key.removeprefix("features."): value for key, value in imagenet.items() if key.startswith("features.")}
        wanted = self.trunk.state_dict()
        self.trunk.load_state_dict({key: own.get(key, value) for key, value in wanted.items()})

    def forward(self, images: Tensor) -> Tensor:
        x = ((images + 1) / 2 - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        middle = self.trunk[: _MIDDLE + 1](x)
        coarse = self.trunk[_MIDDLE + 1 :](middle)
        w = self.code(F.leaky_relu(self.squeeze(coarse), 0.2).flatten(1))
        tokens = torch.cat([self.middle(middle).flatten(2), self.coarse(coarse).flatten(2)], dim=2).transpose(1, 2)
        tokens = tokens + self.places
        rows = self.queries.expand(len(images), -1, -1)
        for layer in self.layers:
            rows = layer(rows, tokens)
        offsets = self.offsets(self.norm(rows))
        keep = torch.arange(self.num_ws, device=images.device)
        offsets = offsets * ((keep > 0) & (keep <= self.stage))[:, None]
        codes: Tensor = self.w_avg + self.w_std * (w.unsqueeze(1) + offsets)
        return codes
