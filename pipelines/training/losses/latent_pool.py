"""A pool of past codes, so that the latent discriminator does not only see the encoder's latest habits.

Shrivastava et al. (CVPR 2017, section 2.3) keep such a history of generated pictures; e4e (Tov et al., SIGGRAPH 2021)
keeps two of codes, one for the mapping network's and one for the encoder's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class LatentPool:
    """Holds up to `size` codes and mixes them into what passes through.

    All chances come from a generator of its own, so a run that goes on from `state_dict` repeats exactly.

    Args:
        size: codes kept; 0 lets everything pass.
        seed: of the chances.
    """

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        self.size = size
        self._items: list[Tensor] = []  # 512 each, on the CPU: the pool outlives any device
        self._rng = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._items)

    def query(self, codes: Tensor) -> Tensor:
        """codes n x 512 or n x rows x 512 -> n x 512 on the same device, without gradient.

        Of W+ codes one random row per item is taken. While the pool fills, an item is stored and returned; once it is
        full, an item is exchanged for a random stored one, or (as often) passes through.
        """
        codes = codes.detach()
        if codes.ndim == 3:
            rows = [self._below(codes.shape[1]) for _ in codes]
            codes = codes[torch.arange(len(codes)), rows]
        return torch.stack([self._exchange(code) for code in codes])

    def _exchange(self, code: Tensor) -> Tensor:
        if self.size == 0:
            return code
        if len(self._items) < self.size:
            self._items.append(code.float().cpu().clone())
            return code
        if self._below(2) == 0:
            return code
        place = self._below(self.size)
        stored = self._items[place]
        self._items[place] = code.float().cpu().clone()
        return stored.to(code)

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=self._rng))

    def state_dict(self) -> dict[str, Any]:
        """`items` k x 512 float32, `rng` (the generator's state), `size`; plain values, nothing that runs code."""
        items = torch.stack(self._items) if self._items else torch.zeros(0)
        return {"size": self.size, "items": items, "rng": self._rng.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of a pool of another size.
        """
        if int(state["size"]) != self.size:
            raise ValueError(f"the stored pool holds {int(state['size'])} codes, this one {self.size}")
        self._items = [item.clone() for item in state["items"]]
        # A checkpoint read onto a device brings the state along; a CPU generator takes it from the CPU alone.
        self._rng.set_state(state["rng"].cpu())
