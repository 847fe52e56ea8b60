"""The verbs on the real detector (weights) and a stand-in chain; plans and mistakes without any weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import api
from pipelines.devices import default_batch, resolve_device
from pipelines.edits import parse_edits
from pipelines.engine import plan as engine_plan
from pipelines.engine.input.listing import list_input
from pipelines.errors import NoInputError, PhotoError, UsageError, WeightsError
from pipelines.records.manifest import read_manifest
from pipelines.specs import AlignSpec, EditSpec, InvertSpec
from pipelines.stages.build import ChainPlan
from pipelines.stages.methods import methods
from pipelines.types import Composition, FaceBatch, Inversion, Rendered
from pipelines.weights.store import StoreConfig, WeightStore
from tests.factories import write_photos

EDITS = parse_edits(["smile=+2"])
PLAN = ChainPlan(methods.get("e4e"), codes="codes", inversion="pictures", edits={"smile+2": "smiling"})


class WideChain:
    """Gives every face back, a little darker for each edit; wants the crops as `build_chain`'s result does."""

    resolution = 256

    def __init__(self) -> None:
        self.inverted = 0
        self.landmarks: list[torch.Tensor] = []

    def invert(self, faces: FaceBatch) -> Inversion:
        assert faces.landmarks is not None
        assert faces.images.shape[1:] == (3, 256, 256)
        self.inverted += len(faces)
        self.landmarks += list(faces.landmarks)
        return Inversion(faces.images.mean((2, 3)).unsqueeze(1), {64: faces.images})

    def edit(self, faces: FaceBatch, inversion: Inversion, edits: Any) -> Rendered:
        base, ones = inversion.residuals[64], torch.ones(len(faces), 1, 256, 256)
        return Rendered(base, {change.name: Composition(base - 0.2, ones) for change in edits})


def fake_plan(weights: tuple[str, ...] = ()) -> ChainPlan:
    method = methods.get("sdic")
    return ChainPlan(method, "mobile-ffhq", weights=weights, codes="c", inversion="i", edits={"smile+2": "s"})


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that needs one entry more than the reader, and no trained asset."""
    monkeypatch.setattr(engine_plan, "plan_chain", lambda spec, store: fake_plan(("mobile-ffhq",)))


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> WideChain:
    made = WideChain()
    monkeypatch.setattr(engine_plan, "plan_chain", lambda spec, store: fake_plan())
    monkeypatch.setattr(engine_plan, "build_chain", lambda plan, store, device: made)
    return made


@pytest.fixture
def bare(tmp_path: Path) -> WeightStore:
    """A store that has nothing and may fetch nothing."""
    return WeightStore(StoreConfig.from_env({}, tmp_path / "no-weights", offline=True))


def write_gray(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(path)


@pytest.mark.usefixtures("planned")
def test_plan_reads_and_promises_nothing_it_does_not_know(tmp_path: Path, bare: WeightStore) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    promise = api.plan(AlignSpec(input=raw, output=tmp_path / "faces", limit=2), bare)
    assert (promise["command"], promise["photos"], promise["to_do"], promise["done"]) == ("align", 2, 2, 0)
    assert promise["weights"] == [{"name": "landmarks-68", "cached": False}, {"name": "yunet", "cached": True}]
    spec = EditSpec(input=raw, output=tmp_path / "edits", edits=EDITS, align=True, device="cpu", batch_size=3)
    promise = api.plan(spec, bare)
    assert promise["edits"] == ["smile+2"]
    assert (promise["device"], promise["batch_size"]) == ("cpu", 3)
    assert {"mobile-ffhq", "landmarks-68"} <= {weight["name"] for weight in promise["weights"]}
    assert json.loads(json.dumps(promise)) == promise
    assert not (tmp_path / "faces").exists()
    assert not (tmp_path / "edits").exists()


@pytest.mark.usefixtures("planned")
def test_mistakes_are_told_before_weights_are_wanted(tmp_path: Path, bare: WeightStore) -> None:
    raw = write_photos(tmp_path / "raw", 1)
    common: dict[str, Any] = {"input": raw, "output": tmp_path / "out"}
    (tmp_path / "empty").mkdir()
    for spec, sentence in (
        (EditSpec(**common), "no edit"),
        (EditSpec(**common, edits=EDITS, latents=tmp_path / "none"), "does not exist"),
        (AlignSpec(**common, detector="eyes"), "eyes"),
        (AlignSpec(input=raw, output=raw), "is the input"),
        (AlignSpec(input=tmp_path / "none", output=tmp_path / "out"), "does not exist"),
    ):
        verbs: dict[type, Any] = {AlignSpec: api.align, InvertSpec: api.invert, EditSpec: api.edit}
        with pytest.raises(UsageError, match=sentence):
            verbs[type(spec)](spec, bare)
    with pytest.raises(NoInputError):
        api.align(AlignSpec(input=tmp_path / "empty", output=tmp_path / "out"), bare)
    assert not (tmp_path / "out").exists()


def test_an_unknown_method_is_told_by_the_chain(tmp_path: Path, bare: WeightStore) -> None:
    spec = InvertSpec(input=write_photos(tmp_path / "raw", 1), output=tmp_path / "out", method="magic")
    with pytest.raises(UsageError, match="magic"):
        api.invert(spec, bare)


def test_weights_that_are_missing_are_named_before_anything_is_read(tmp_path: Path, bare: WeightStore) -> None:
    spec = AlignSpec(input=write_photos(tmp_path / "raw", 1), output=tmp_path / "out")
    with pytest.raises(WeightsError, match="landmarks-68"):
        api.align(spec, bare)


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert default_batch(torch.device("cpu")) >= 1
    for name in ("cuda:0,1", "gpu", "cuda:99", "meta"):
        with pytest.raises(UsageError, match=name):
            resolve_device(name)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, pipelines; assert 'torch' not in sys.modules; pipelines.edit; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.weights
def test_raw_photos_to_pasted_edits(tmp_path: Path, store: WeightStore, chain: WideChain) -> None:
    """align, then edit of the faces; and both in one stream: the same crops, so the same pictures."""
    raw = tmp_path / "raw"
    for name in ("sample-astronaut", "sample-obama"):
        if name in {entry.name for entry in store.entries()}:
            raw.mkdir(exist_ok=True)
            (raw / f"{name}.png").write_bytes(store.path(name).read_bytes())
    write_gray(raw / "nobody.png", 300, 200)
    photos = len(list_input(raw).photos)
    faces, edits, stream = tmp_path / "faces", tmp_path / "edits", tmp_path / "stream"
    summary = api.align(AlignSpec(input=raw, output=faces, num_workers=1, size=256), store)
    assert (summary.ok, summary.failures) == (photos - 1, {"no-face": 1})
    crop = np.asarray(Image.open(faces / "sample-astronaut.png"))
    assert crop.shape == (256, 256, 3)

    spec = EditSpec(
        input=faces, output=edits, edits=EDITS, paste=True, size=256, num_workers=1, device="cpu", batch_size=2
    )
    summary = api.edit(spec, store)
    assert (summary.ok, summary.failed, summary.warnings) == (photos - 1, 0, [])
    record = read_manifest(edits)["sample-astronaut"]
    assert set(record.outputs) == {"inversion", "latents", "smile+2", "photos/smile+2"}
    assert record.quad is None
    np.testing.assert_allclose(np.asarray(Image.open(edits / "inversion" / "sample-astronaut.png")), crop, atol=1)
    with Image.open(edits / "photos" / "smile+2" / "sample-astronaut.png") as pasted:
        photo = np.asarray(Image.open(raw / "sample-astronaut.png").convert("RGB"), np.float32)
        change = np.abs(np.asarray(pasted, np.float32) - photo).mean(2)
    assert change[:20, -20:].mean() < 3
    assert change.max() > 15
    assert all(points.min() >= 0 and points.max() <= 1 for points in chain.landmarks)

    inverted = chain.inverted
    changed = spec.model_copy(update={"inputs": (raw,), "output": stream, "align": True, "latents": edits})
    summary = api.edit(changed, store)
    assert (summary.ok, summary.failures) == (photos - 1, {"no-face": 1})
    assert chain.inverted == inverted, "codes of the same pixels are used again"
    name = "smile+2/sample-astronaut.png"
    assert (stream / name).read_bytes() == (edits / name).read_bytes()
    assert api.plan(changed, store)["to_do"] == 1


@pytest.mark.weights
def test_input_that_is_not_aligned_is_told(tmp_path: Path, store: WeightStore, chain: WideChain) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "square.png").write_bytes(store.path("sample-astronaut").read_bytes())
    write_gray(raw / "gray.png", 100, 100)
    write_gray(raw / "wide.png", 200, 100)
    summary = api.invert(InvertSpec(input=raw, output=tmp_path / "out", size=256, num_workers=0, device="cpu"), store)
    assert (summary.ok, summary.failures) == (2, {"not-aligned": 1})
    assert any("'square'" in warning and "--align" in warning for warning in summary.warnings)
    assert any("'gray'" in warning for warning in summary.warnings)
    assert read_manifest(tmp_path / "out")["square"].scores["misalignment"] > 0.1
    again = tmp_path / "again"
    spec = InvertSpec(input=raw / "square.png", output=again, size=256, num_workers=0, device="cpu", aligned=True)
    assert api.invert(spec, store).warnings == []


@pytest.mark.weights
def test_edits_of_an_inverted_folder_cut_the_photos_again(tmp_path: Path, store: WeightStore, chain: WideChain) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.png").write_bytes(store.path("sample-astronaut").read_bytes())
    common: dict[str, Any] = {"size": 256, "num_workers": 1, "device": "cpu"}
    api.invert(InvertSpec(input=raw, output=tmp_path / "inversions", align=True, **common), store)
    spec = EditSpec(input=tmp_path / "inversions", output=tmp_path / "edits", edits=EDITS, **common)
    assert api.edit(spec, store).ok == 1
    assert chain.inverted == 1
    one, two = (read_manifest(tmp_path / folder)["a"] for folder in ("inversions", "edits"))
    assert (one.quad, one.source) == (two.quad, two.source)
    Image.open(raw / "a.png").rotate(3).save(raw / "a.png")
    assert api.edit(spec, store).failures == {"changed": 1}


def test_three_lines(tmp_path: Path, chain: WideChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from pipelines import edit; edit("faces", "edits", attr=[...])`, with fields of the spec as keywords."""
    import pipelines
    from pipelines.evaluation import evaluate as evaluation

    seen: list[EditSpec] = []
    monkeypatch.setattr(api, "run_to_destination", lambda spec, make, on_event: seen.append(spec))
    pipelines.edit("faces", str(tmp_path), attr=["smile=+2"], method="sdic", paste=True)
    pipelines.edit("faces", attr="age=-1")
    assert seen[0] == EditSpec(input="faces", output=tmp_path, edits=EDITS, method="sdic", paste=True)
    assert (seen[1].output, [edit.name for edit in seen[1].edits]) == (Path("edits"), ["age-1"])
    for mistake in ({"methud": "sdic"}, {"batch_size": 0}, {"attr": ["smile"]}):
        with pytest.raises(UsageError):
            pipelines.edit("faces", **mistake)
    asked: list[Any] = []
    monkeypatch.setattr(api, "_evaluate", lambda spec, store, progress: asked.append(spec) or {})
    assert callable(pipelines.evaluate)
    assert pipelines.evaluate(tmp_path, metrics=("psnr",)) == {}
    assert asked[0].metrics == ("psnr",)
    assert evaluation.evaluate is not pipelines.evaluate


@pytest.mark.weights
def test_one_picture_in_memory(store: WeightStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.stages import single

    made = WideChain()
    monkeypatch.setattr(single, "plan_chain", lambda spec, store: fake_plan())
    monkeypatch.setattr(single, "build_chain", lambda plan, store, device: made)
    monkeypatch.setattr(single, "_last", [])
    photo = Image.open(store.path("sample-astronaut"))
    options: dict[str, Any] = {"size": 256, "device": "cpu", "align": True}
    face = api.invert_image(photo, store, **options)
    edited = api.edit_image(photo, ["smile=+2"], store, **options)
    assert face.size == edited.size == (256, 256)
    assert np.asarray(face).mean() - np.asarray(edited).mean() > 10
    whole = api.edit_image(photo, ["smile=+2"], store, paste=True, **options)
    assert whole.size == photo.size
    assert made.inverted == 3
    with pytest.raises(UsageError, match="one edit"):
        api.edit_image(photo, ["smile=-1:1:1"], store, **options)
    with pytest.raises(PhotoError, match="--align"):
        api.edit_image(photo.crop((0, 0, 100, 50)), ["smile=+2"], store, size=256, device="cpu")
