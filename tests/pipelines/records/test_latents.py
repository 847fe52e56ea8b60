"""Codes on disk come back as they were; damaged files are refused with one sentence."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from pipelines.errors import PhotoError
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.types import Inversion


def sample() -> Inversion:
    return Inversion(
        torch.randn(2, 18, 512), {64: torch.randn(2, 4, 8, 8)}, scores={"embed_loss": torch.tensor([0.25, 0.5])}
    )


def test_round_trip() -> None:
    inversion = sample()
    again, metadata = load_inversion(save_inversion(inversion, 1, {"fingerprint": "abc"}))
    assert torch.equal(again.latents[0], inversion.latents[1])
    assert torch.allclose(again.residuals[64][0], inversion.residuals[64][1], atol=2e-3)  # half precision on disk
    assert again.scores["embed_loss"].tolist() == [0.5]
    assert metadata["fingerprint"] == "abc"


@pytest.mark.parametrize("damage", [lambda d: d[:-100], lambda d: d[:5], lambda d: b"", lambda d: b"\xff" * len(d)])
def test_damaged_file_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PhotoError) as caught:
        load_inversion(damage(save_inversion(sample(), 0, {})))
    assert caught.value.code == "bad-latents"


def test_foreign_safetensors_are_refused() -> None:
    with pytest.raises(PhotoError, match="not written by this tool"):
        load_inversion(save({"latents": torch.zeros(18, 512)}))
