"""DICN, the discrepancy compensation network of SDIC (arXiv 2312.07079), with the official structure and key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.sdic.blocks import SLOPE, EqualConv2d, ScaledLeakyReLU, cbl


def _conv3(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False)


class RowHeads(nn.Module):
    """n x 8R x 512 -> scale and offset of R rows of codes, each n x R x 512.

    A trunk mixes the 8R rows down to R; two heads slide along the 512 axis.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.sen = nn.Sequential(
            nn.Conv1d(8 * rows, 4 * rows, 1),
            nn.BatchNorm1d(4 * rows),
            nn.LeakyReLU(SLOPE),
            nn.Conv1d(4 * rows, rows, 1),
        )
        self.att = self._head(rows)
        self.att2 = self._head(rows)

    @staticmethod
    def _head(rows: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv1d(rows, rows, 3, padding=1),
            nn.BatchNorm1d(rows),
            nn.LeakyReLU(SLOPE),
            nn.Conv1d(rows, rows, 1, bias=False),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.sen(x)
        return self.att(trunk), self.att2(trunk)


class DICN(nn.Module):
    """The whole network; 7.4 M parameters, none of them dead.

    Called as ``(discrepancy, feature, latents)``: n x 3 x 256 x 256, n x 512 x 64 x 64 (after the upsampling convolution
    of the 64 px block) and n x R x 512 -> the compensated feature and codes, same shapes.

    Feature: F' = F + sigmoid(gate) * content. Codes: W' = gamma * W + W + theta (the paper's figure lacks the middle
    term; the published code has it).

    Args:
        rows: R, 18 for 1024 px generators.
    """

    def __init__(self, rows: int = 18) -> None:
        super().__init__()
        self.conv_layer1 = nn.Sequential(_conv3(3, 32), nn.BatchNorm2d(32), nn.PReLU(32))
        self.semantic = nn.Sequential(cbl(32, 64, stride=2), _conv3(64, 64), cbl(64, 512, stride=2), _conv3(512, 512))
        self.att = nn.Sequential(cbl(512, 512), _conv3(512, 512))
        self.condition_shift3 = nn.Sequential(EqualConv2d(3, rows), ScaledLeakyReLU(), EqualConv2d(rows, rows))
        self.aff1d = RowHeads(rows)

    def forward(self, discrepancy: Tensor, feature: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        content = self.semantic(self.conv_layer1(discrepancy))
        compensated = torch.sigmoid(self.att(content + feature)) * content + feature
        shift = self.condition_shift3(discrepancy)
        shift = F.interpolate(shift, (64, 64), mode="bilinear", align_corners=False)
        # Each row of 512 numbers is eight picture rows of one channel: (R, 64, 64) -> (8R, 512).
        scale, offset = self.aff1d(shift.reshape(len(shift), -1, 512))
        return compensated, scale * latents + latents + offset
