"""DIPN, the discrepancy prediction network of SDIC (arXiv 2312.07079), with the official structure and key names.

Two pictures -> a map of what the second one lacks. Their features become the depth axis of one volume, which a 3-D
hourglass turns into the map, guided by the first picture's own features (the design comes from stereo matching).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.models.sdic.blocks import ConvNormAct, ResidualIR, UpMerge, cbl, cbl3d, cbl3d_flat, cbl3d_up

Pyramid = tuple[Tensor, Tensor, Tensor, Tensor]


class Branch(nn.Module):
    """n x 3 x S x S -> features 16 at S, 32 at S/2, 96 at S/4, 160 at S/8."""

    def __init__(self) -> None:
        super().__init__()
        self.fe1 = cbl(3, 16)
        self.fe2 = cbl(16, 24, stride=2)
        self.fe3 = cbl(24, 32)
        self.fe4 = cbl(32, 96, stride=2)
        self.fe5 = cbl(96, 160, stride=2)

    def forward(self, x: Tensor) -> Pyramid:
        whole = self.fe1(x)
        half = self.fe3(self.fe2(whole))
        quarter = self.fe4(half)
        return whole, half, quarter, self.fe5(quarter)


class BranchUp(nn.Module):
    """The decoder that both branches share -> 32 at S, 64 at S/2, 192 at S/4, 160 at S/8."""

    def __init__(self) -> None:
        super().__init__()
        self.deconv8_4 = UpMerge(160, 96)
        self.deconv4_2 = UpMerge(192, 32)
        self.deconv2_1 = UpMerge(64, 16)
        self.conv4 = cbl(32, 32)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        whole, half, quarter, eighth = pyramid
        up4 = self.deconv8_4(eighth, quarter)
        up2 = self.deconv4_2(up4, half)
        return self.conv4(self.deconv2_1(up2, whole)), up2, up4, eighth


class ContextFusion(nn.Module):
    """Lets a picture's features n x m x H x W gate into a volume n x c x D x H x W; shape unchanged."""

    def __init__(self, c: int, m: int) -> None:
        super().__init__()
        self.semantic = nn.Sequential(cbl(m, m // 2, kernel=1), nn.Conv2d(m // 2, c, 1))
        self.att = nn.Sequential(cbl3d_flat(c), nn.Conv3d(c, c, 1, bias=False))
        self.agg = cbl3d_flat(c)

    def forward(self, volume: Tensor, context: Tensor) -> Tensor:
        meaning = self.semantic(context).unsqueeze(2)
        gate = torch.sigmoid(self.att(meaning + volume))
        fused: Tensor = self.agg(gate * meaning + volume)
        return fused


class Hourglass3d(nn.Module):
    """Volume n x 8 x 48 x S x S and the first picture's pyramid -> n x 1 x 48 x S x S."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(cbl3d(8, 16, stride=2), cbl3d(16, 16))
        self.conv2 = nn.Sequential(cbl3d(16, 32, stride=2), cbl3d(32, 32))
        self.conv3 = nn.Sequential(cbl3d(32, 48, stride=2), cbl3d(48, 48))
        self.conv3_up = cbl3d_up(48, 32)
        self.conv2_up = cbl3d_up(32, 16)
        # The official block keeps an unused norm here; the last step is a bare convolution.
        self.conv1_up = nn.ModuleDict({"conv": nn.ConvTranspose3d(16, 1, 4, 2, 1, bias=False)})
        self.agg_0 = nn.Sequential(cbl3d(64, 32, kernel=1), cbl3d(32, 32), cbl3d(32, 32))
        self.agg_1 = nn.Sequential(cbl3d(32, 16, kernel=1), cbl3d(16, 16), cbl3d(16, 16))
        self.CGF_32 = ContextFusion(48, 160)
        self.CGF_16 = ContextFusion(32, 192)
        self.CGF_8 = ContextFusion(16, 64)

    def forward(self, volume: Tensor, context: Pyramid) -> Tensor:
        _, half, quarter, eighth = context
        v1 = self.conv1(volume)
        v2 = self.conv2(v1)
        v3 = self.CGF_32(self.conv3(v2), eighth)
        v2 = self.CGF_16(self.agg_0(torch.cat((self.conv3_up(v3), v2), dim=1)), quarter)
        v1 = self.CGF_8(self.agg_1(torch.cat((self.conv2_up(v2), v1), dim=1)), half)
        cost: Tensor = self.conv1_up["conv"](v1)
        return cost


class DIPN(nn.Module):
    """The whole network; 1.7 M parameters, none of them dead.

    Called as ``(source, base)``, both n x 3 x 256 x 256, RGB in [-1, 1] (any side divisible by 8 works) -> the
    discrepancy map, same shape, unbounded. It never sees the difference of its inputs.

    Memory: the widest tensor, n x 8 x 48 x 256 x 256, takes 100 MB a face in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.feature1 = Branch()
        self.feature2 = Branch()
        self.feature_up = BranchUp()
        self.conv = cbl(32, 48)
        self.desc = nn.Conv2d(48, 24, 1)
        self.corr_stem: ConvNormAct = cbl3d(1, 8)
        self.hourglass_fusion = Hourglass3d()
        self.rgb1 = nn.Sequential(cbl(48, 16), nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.rgb = nn.Sequential(ResidualIR(16, 3), ResidualIR(3, 3), ResidualIR(3, 3))

    def forward(self, source: Tensor, base: Tensor) -> Tensor:
        left = self.feature_up(self.feature1(source))
        right = self.feature_up(self.feature2(base))
        described = torch.cat((self.desc(self.conv(left[0])), self.desc(self.conv(right[0]))), dim=1)
        cost = self.hourglass_fusion(self.corr_stem(described.unsqueeze(1)), left)
        result: Tensor = self.rgb(self.rgb1(cost.squeeze(1)))
        return result
