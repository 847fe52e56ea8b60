"""From the device to the host in one copy: every other reading would make the device wait for the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def levels(images: Tensor) -> Tensor:
    """n x 3 x H x W in [-1, 1] -> n x H x W x 3 uint8, as `images.pixels.to_uint8` rounds, but NaN is 0 and nothing waits."""
    scaled = images.detach().to(torch.float32).add(1.0).mul_(127.5).nan_to_num_(0.0)
    return scaled.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def shares(masks: Tensor) -> Tensor:
    """n x 1 x H x W in [0, 1] -> n x H x W uint8, 255 for 1."""
    return masks.detach()[:, 0].to(torch.float32).mul(255.0).nan_to_num_(0.0).round_().clamp_(0, 255).to(torch.uint8)


def finite(*tensors: Tensor) -> Tensor:
    """Per face, on the device: whether every number is finite (one that is not leaves no sum finite)."""
    return torch.stack([tensor.flatten(1).sum(1).isfinite() for tensor in tensors]).all(0)


def fetch(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors on the CPU; those of a device come together, in one copy."""
    away = [tensor for tensor in tensors if tensor.device.type != "cpu"]
    if not away:
        return list(tensors)
    away.sort(key=lambda tensor: -tensor.element_size())  # every piece then begins at a multiple of its element
    buffer = torch.cat([tensor.detach().contiguous().view(-1).view(torch.uint8) for tensor in away]).cpu()
    pieces = buffer.split([tensor.numel() * tensor.element_size() for tensor in away])
    here = {id(each): piece.view(each.dtype).view(each.shape) for each, piece in zip(away, pieces, strict=True)}
    return [here.get(id(tensor), tensor) for tensor in tensors]
