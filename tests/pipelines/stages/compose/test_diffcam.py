"""The composers of Diff-CAM on features whose change is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipelines.edits import Edit, make_edit
from pipelines.errors import UsageError
from pipelines.models.diffcam.deghost import DeghostNet
from pipelines.models.diffcam.lean import POINT, LeanDiffCAM
from pipelines.specs import EditSpec
from pipelines.stages.build import plan_chain
from pipelines.stages.compose import regions
from pipelines.stages.compose.activation import bounds, edit_masks, evidence
from pipelines.stages.compose.detail import DetailComposer
from pipelines.stages.compose.diffcam import DiffCAMComposer
from pipelines.stages.compose.diffcam_official import OfficialComposer
from pipelines.stages.compose.manners import known_manner
from pipelines.types import Composition, FaceBatch, Inversion, Synthesis
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore

NOTHING = Inversion(torch.zeros(2, 18, 4))
SMILE = make_edit([("smile", 2.0)])


def change(rows: slice, columns: slice) -> Tensor:
    made = torch.zeros(2, 8, 64, 64)
    made[:, :, rows, columns] = torch.randn(2, 8, 64, 64, generator=torch.Generator().manual_seed(1))[
        :, :, rows, columns
    ]
    return made


MOUTH, EYES = change(slice(42, 52), slice(24, 40)), change(slice(26, 32), slice(16, 48))


def run(
    composer: DiffCAMComposer, moved: Tensor, edit: Edit = SMILE, batch: slice = slice(0, 2)
) -> tuple[Tensor, Composition]:
    rng = torch.Generator().manual_seed(0)
    photo, base, edited = (torch.rand(2, 3, 512, 512, generator=rng) * 2 - 1 for _ in range(3))
    faces = FaceBatch(photo[batch])
    scene = composer.prepare(faces, NOTHING[batch], Synthesis(base[batch], {POINT: torch.zeros_like(moved)[batch]}))
    return photo[batch], composer.compose(scene, Synthesis(edited[batch], {POINT: moved[batch]}), edit)


def deghost() -> DeghostNet:
    torch.manual_seed(0)
    net = DeghostNet((8, 8, 8, 8))
    nn.init.normal_(net.head.weight, std=0.3)
    return net.eval()


def test_only_where_the_feature_changed_is_the_photo_changed() -> None:
    for network in (None, deghost()):
        photo, made = run(DiffCAMComposer(deghost=network), MOUTH)
        untouched = (made.mask == 0).expand_as(photo)
        assert torch.equal(made.image[untouched], photo[untouched])
        assert made.mask[:, :, 360:400, 220:290].min() > 0.9
        assert not made.mask[:, :, :250].any()
        assert (made.image - photo).abs()[:, :, 360:400, 220:290].mean() > 0.1


def test_a_face_does_not_depend_on_its_batch() -> None:
    composer = DiffCAMComposer(deghost=deghost())
    both, one = run(composer, MOUTH)[1], run(composer, MOUTH, batch=slice(1, 2))[1]
    assert torch.equal(both.image[1:], one.image)
    assert torch.equal(both.mask[1:], one.mask)


def test_no_change_leaves_the_photo() -> None:
    photo, made = run(DiffCAMComposer(deghost=deghost()), torch.zeros_like(MOUTH))
    assert torch.equal(made.image, photo)
    assert not made.mask.any()


def test_a_region_bounds_the_mask() -> None:
    _, made = run(DiffCAMComposer(heads=DetailComposer(region="eyes")), MOUTH + EYES)
    assert made.mask[:, :, 210:250, 130:380].max() > 0.9
    assert not made.mask[:, :, 350:].any()


def test_a_mouths_mask_ends_at_the_nose() -> None:
    face = regions.face_of(regions.mean_landmarks(torch.zeros(1))[None])
    mouth, eyes = (bounds(face, known_manner(name)) for name in ("smile", "eyes_open"))
    base = int(256 * 0.66)
    assert mouth[0, 0, base + 12, 128] > 0.99
    assert not mouth[:, :, : base - int(256 * 0.4 * float(face.unit)) - 4].any()
    assert eyes[0, 0, 122, 96] > 0.99  # others end where they did


def test_strength_zero_needs_no_step() -> None:
    composer = DiffCAMComposer()
    assert not composer.steps(make_edit([("smile", 0.0)]))
    assert composer.steps(make_edit([("smile", 0.0), ("age", 1.0)])) == [make_edit([("age", 1.0)])]


def test_turns_are_made_as_detail_makes_them() -> None:
    composer, turn = DiffCAMComposer(deghost=deghost()), make_edit([("yaw", 0.5)])
    asked = make_edit([("smile", 1.0), ("yaw", 0.5), ("age", 1.0), ("pitch", 0.0)])
    assert composer.steps(asked) == [turn, make_edit([("smile", 1.0), ("age", 1.0)])]
    rng = torch.Generator().manual_seed(0)
    photo, base, edited = (torch.rand(2, 3, 256, 256, generator=rng) * 2 - 1 for _ in range(3))
    faces, empty = FaceBatch(photo), {POINT: torch.zeros_like(MOUTH)}
    made = composer.compose(composer.prepare(faces, NOTHING, Synthesis(base, empty)), Synthesis(edited, empty), turn)
    detail = DetailComposer()
    known = detail.compose(detail.prepare(faces, NOTHING, Synthesis(base, {})), Synthesis(edited, {}), turn)
    assert made.mask.any()
    assert torch.equal(made.image, known.image)
    assert torch.equal(made.mask, known.mask)


def classifier() -> LeanDiffCAM:
    """Class 0 is channel 0 raised, class 1 is channel 1 raised."""
    net = LeanDiffCAM(("smile", "eyes_open"), channels=8, width=2)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    for layer in (net.read.weight, net.first.weight[:, :, 1:2, 1:2], net.second.weight[:, :, 1:2, 1:2], net.fc.weight):
        for i in range(2):
            layer.data[i, i] = 1
    return net.requires_grad_(False)


def test_signs_and_several_attributes() -> None:
    net, moved = classifier(), torch.zeros(2, 8, 64, 64)
    moved[:, 0, 42:52, 24:40], moved[:, 1, 26:32, 16:48] = 1, 1
    smile = edit_masks(evidence(net, moved, SMILE))
    assert smile[:, :, 175:200, 105:150].min() > 0.9
    assert not smile[:, :, 100:125].any()
    away = make_edit([("smile", -2.0)])
    assert torch.equal(edit_masks(evidence(net, -moved, away)), smile)
    both = edit_masks(evidence(net, moved, make_edit([("smile", 1.0), ("eyes_open", 1.0)])))
    assert torch.equal(both[:, :1], smile)
    assert torch.equal(both[:, 1:], edit_masks(evidence(net, moved, make_edit([("eyes_open", 1.0)]))))
    assert evidence(net, moved, make_edit([("hat", 1.0)])).shape == (2, 1, 32, 32)


class FakeClassifier(nn.Module):
    """Sees a place where the second picture is brighter, and calls it class 15."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 17)
        nn.init.zeros_(self.fc.bias)

    def maps(self, unedited: Tensor, edited: Tensor) -> Tensor:
        gap = nn.functional.avg_pool2d((edited - unedited).mean(dim=1, keepdim=True), 32)
        made = torch.zeros(len(gap), 17, 8, 8)
        made[:, 15:16] = gap
        return made


def official(edit: Edit, deghosting: Any = None) -> tuple[Tensor, Composition]:
    photo, base = torch.zeros(2, 3, 512, 512), torch.zeros(2, 3, 512, 512)
    edited = base.clone()
    edited[:, :, 256:320, 256:320] = 0.8
    composer = OfficialComposer(FakeClassifier(), deghosting)  # type: ignore[arg-type]
    scene = composer.prepare(FaceBatch(photo), NOTHING, Synthesis(base, {}))
    return photo, composer.compose(scene, Synthesis(edited, {}), edit)


@pytest.mark.parametrize("attribute", ["smile", "no-class-of-its-own"])
def test_the_official_mask_and_composite(attribute: str) -> None:
    _, made = official(make_edit([(attribute, 2.0)]))
    assert made.mask[:, :, 280:300, 280:300].min() > 0.6
    assert not made.mask[:, :, :128].any()
    assert made.image[:, :, 288, 288].min() > 0.6
    photo, none = official(make_edit([("smile", -2.0)]))  # nothing was darkened: no evidence, no mask
    assert torch.equal(none.image, photo)


def test_official_deghosting_sees_128_px_and_makes_everything() -> None:
    seen: list[Tensor] = []

    def network(small: Tensor) -> Tensor:
        seen.append(small)
        return small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)

    _, made = official(SMILE, network)
    assert {tuple(x.shape) for x in seen} == {(1, 3, 128, 128)}
    assert made.mask.min() == 1


def test_ghosts_are_for_diffcam_alone(tmp_path: Any) -> None:
    store = WeightStore(StoreConfig(home=tmp_path))
    spec = EditSpec(input=tmp_path, output=tmp_path / "out", edits=("smile=1",), deghost="off", compose="detail")
    with pytest.raises(UsageError, match="deghost"):
        plan_chain(spec, store)
