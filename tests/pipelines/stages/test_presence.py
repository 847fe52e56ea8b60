"""An edit beyond its range that leaves no face is told from one that changes a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pipelines
from pipelines.stages.presence import SIDE, SIDES, FaceWatch
from tests.golden.pictures import PHOTO

YUNET = Path(pipelines.__file__).parent / "assets" / "yunet.onnx"


def portrait() -> Tensor:
    """1 x 512 x 512 x 3: larger than what is searched."""
    return torch.from_numpy(np.array(Image.open(PHOTO).convert("RGB").resize((512, 512))))[None]


def small(pictures: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([Image.fromarray(each).resize((SIDE, SIDE)) for each in pictures.numpy()]))


def mush(pictures: Tensor) -> Tensor:
    """The same colours without anything in them."""
    few = [np.array(Image.fromarray(each).resize((5, 5)).resize((SIDE, SIDE))) for each in pictures.numpy()]
    return torch.from_numpy(np.stack(few))


def test_a_face_that_is_gone_is_lost_and_one_that_changed_is_not() -> None:
    before = torch.cat([portrait()] * 4)
    face = small(portrait())
    darker, turned = (face.float() * 0.7).byte(), face.flip(2)
    after = torch.cat([face, mush(portrait()), darker, turned])
    assert FaceWatch(YUNET).lost(before, after).tolist() == [False, True, False, False]


def test_where_no_face_was_found_before_none_can_be_lost() -> None:
    nothing = mush(portrait())
    assert FaceWatch(YUNET).lost(nothing, nothing).tolist() == [False]


def test_each_picture_is_judged_by_itself() -> None:
    before, after = torch.cat([portrait()] * 3), torch.cat([mush(portrait()), small(portrait()), mush(portrait())])
    watch = FaceWatch(YUNET)
    alone = [watch.lost(before[n : n + 1], after[n : n + 1]) for n in range(3)]
    assert torch.equal(watch.lost(before, after), torch.cat(alone))


def test_a_face_must_be_left_at_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mush passes for a face at one size or the other."""
    watch, scores = FaceWatch(YUNET), {(SIDES[0], 0): 0.9, (SIDES[1], 0): 0.9, (SIDES[0], 9): 0.8, (SIDES[1], 9): 0.6}
    monkeypatch.setattr(watch, "_score", lambda picture: scores[len(picture), int(picture.max())])
    before, after = torch.zeros(1, 512, 512, 3, dtype=torch.uint8), torch.full((1, SIDE, SIDE, 3), 9, dtype=torch.uint8)
    assert watch.left(before, after).tolist() == pytest.approx([0.6 / 0.9])
    assert watch.lost(before, after).tolist() == [True]
