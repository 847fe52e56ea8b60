"""Metrics of codes through the verb, on a real folder with codes: a small generator of the real class, a fake embedder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.engine.events import ProgressEvent
from pipelines.errors import UsageError
from pipelines.evaluation import evaluate as verb
from pipelines.evaluation import run_latents as codes
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.run_latents import RunCodes, read_run
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.images.pixels import encode
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.generators.style_space import nscd, style_centre
from pipelines.records.latents import save_inversion
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.registry import Entry, PartRegistry
from pipelines.stages import published as adopted
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import GeneratorEntry, Parts
from pipelines.types import Embedder, FaceBatch, Generator, Inversion
from tests.pipelines.metrics.fakes import CPU, FakeStore, locate, picture

SAMPLES = 50


class Store(FakeStore):
    def __init__(self, home: Path, **hashes: str) -> None:
        super().__init__("landmarks-68")
        self.config = SimpleNamespace(home=home, offline=False)
        self.hashes = {"weights-of-g": "aaa", **hashes}

    def closure(self, names: tuple[str, ...]) -> list[str]:
        return list(names)

    def sha256(self, name: str) -> str:
        return self.hashes.get(name, "")


class Recall:
    """An embedder that gives the mean code moved by the picture's brightness."""

    name = version = "recall"

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.landmarks: list[Tensor] = []

    def embed(self, faces: FaceBatch) -> Inversion:
        assert faces.landmarks is not None
        self.landmarks.append(faces.landmarks)
        return Inversion(self.generator.w_avg + faces.images.mean((1, 2, 3))[:, None, None].expand(-1, 18, 512))


def _generator() -> MobileStyleGAN:
    torch.manual_seed(5)
    made = MobileStyleGAN(channels=(8,) * 3)  # 64 px, rows 0 to 6 and the head's
    for parameter in made.parameters():
        parameter.normal_(0, 0.1)
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> MobileStyleGAN:
    """The parts behind the names of a run; the centre from few samples."""
    generator = _generator()

    def build(parts: Parts) -> Generator:
        return generator

    def embedder(parts: Parts, generator: Generator) -> Recall:
        return Recall(generator)

    generators: PartRegistry[Generator] = PartRegistry("generator")
    generators.add("mobile-ffhq", GeneratorEntry(build, ("weights-of-g",)))
    embedders: PartRegistry[Embedder] = PartRegistry("embedder")
    embedders.add("optimize", Entry(embedder))
    monkeypatch.setattr(adopted, "generators", generators)
    monkeypatch.setattr(adopted, "embedders", embedders)
    monkeypatch.setattr(verb, "_Locator", lambda tools: locate)
    cached = codes.cached_centre
    monkeypatch.setattr(codes, "cached_centre", lambda generator, folder: cached(generator, folder, SAMPLES))
    return generator


def _run(folder: Path, count: int = 3, **about: Any) -> list[Tensor]:
    """A run of `count` faces; the codes that it stored."""
    made, records = [], []
    for number in range(count):
        key = f"{number:03}"
        data = encode(picture(number), "png")
        for path in (folder.parent / f"faces/{key}.png", folder / f"inversion/{key}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        made.append(torch.randn(18, 512, generator=torch.Generator().manual_seed(number)))
        latents = folder / f"latents/{key}.safetensors"
        latents.parent.mkdir(exist_ok=True)
        latents.write_bytes(save_inversion(Inversion(made[-1][None]), 0, {}))
        outputs = {"inversion": f"inversion/{key}.png", "latents": f"latents/{key}.safetensors"}
        source = str(folder.parent / f"faces/{key}.png")
        records.append(Record(key, source, hashlib.sha256(data).hexdigest(), outputs=outputs))
    writer = ManifestWriter(folder)
    for record in records:
        writer.append(record)
    writer.close()
    spec = {"generator": "mobile-ffhq", "method": "optimize", "embed": None, "refine": None, "compensate": None}
    (folder / "run.json").write_text(json.dumps({"spec": spec, "weights": {"weights-of-g": "aaa"}, **about}))
    return made


def _spec(run: Path, *metrics: str) -> EvaluateSpec:
    return EvaluateSpec(run=run, metrics=metrics, device="cpu", batch_size=2)


def test_nscd_is_measured_and_its_centre_kept(tmp_path: Path, small: MobileStyleGAN) -> None:
    stored = _run(tmp_path / "edits")
    made = evaluate(_spec(tmp_path / "edits", "nscd", "mse"), Store(tmp_path / "home"))
    expected = nscd(torch.stack(stored), style_centre(small, SAMPLES))
    values = [made["images"][f"{n:03}"]["inversion"]["nscd"] for n in range(3)]
    assert values == pytest.approx(expected.tolist(), rel=1e-4)
    assert made["edits"]["inversion"]["nscd"]["mean"] == pytest.approx(expected.mean().item(), rel=1e-4)
    assert made["edits"]["inversion"]["mse"]["mean"] == 0
    assert "cosine" in made["metrics"]["nscd"]["about"]
    assert len(list((tmp_path / "home/centres").iterdir())) == 1
    assert (tmp_path / "edits/report.html").is_file()


def test_lec_goes_there_and_back(tmp_path: Path, small: MobileStyleGAN) -> None:
    stored = torch.stack(_run(tmp_path / "edits"))
    events: list[ProgressEvent] = []
    made = evaluate(_spec(tmp_path / "edits", "lec"), Store(tmp_path / "home"), events.append)
    shift = 3 * DirectionSet(own_directions(18)).get("age").vector
    image = small.synthesize(stored + shift).image.clamp(-1, 1)
    back = small.w_avg + image.mean((1, 2, 3))[:, None, None] - shift
    values = [made["images"][f"{n:03}"]["inversion"]["lec-age"] for n in range(3)]
    assert values == pytest.approx((stored - back).flatten(1).norm(dim=1).tolist(), rel=1e-4)
    assert made["edits"]["inversion"]["lec-age"]["outliers"] == 0
    assert "L2" in made["metrics"]["lec-age"]["about"]
    assert "'optimize'" in made["notes"][0]
    assert (events[0].kind, events[0].message) == ("warning", made["notes"][0])


def test_a_tuned_face_is_drawn_by_its_own_generator(tmp_path: Path, small: MobileStyleGAN) -> None:
    """One face of three has weights of its own; the others are drawn by the generator as it is."""
    stored = torch.stack(_run(tmp_path / "edits"))
    before = evaluate(_spec(tmp_path / "edits", "lec"), Store(tmp_path / "home"))["images"]
    name = "head.bias"
    own = {name: torch.full((1, *small.state_dict()[name].shape), 0.5)}
    tuned = save_inversion(Inversion(stored[1:2], deltas=own), 0, {})
    (tmp_path / "edits/latents/001.safetensors").write_bytes(tuned)
    after = evaluate(_spec(tmp_path / "edits", "lec", "nscd"), Store(tmp_path / "home"))["images"]
    moved = [abs(after[key]["inversion"]["lec-age"] - before[key]["inversion"]["lec-age"]) for key in sorted(before)]
    assert moved[0] == moved[2] == 0
    assert moved[1] > 1e-3


def test_the_embedder_sees_the_edited_face(tmp_path: Path, small: MobileStyleGAN) -> None:
    _run(tmp_path / "edits")
    found = RunCodes(tmp_path / "edits", Store(tmp_path / "home"), CPU, locate)
    codes = torch.randn(2, 18, 512)
    images = found.render(Inversion(codes), codes)
    assert images.abs().max() <= 1
    found.embed(images)
    (landmarks,) = found.embedder.landmarks
    levels = [np.uint8(image) for image in ((images + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()]
    np.testing.assert_allclose(landmarks.numpy(), np.stack([locate(image) for image in levels]), atol=1e-5)


def test_a_face_without_codes_is_told_and_left_out(tmp_path: Path, small: MobileStyleGAN) -> None:
    _run(tmp_path / "edits")
    (tmp_path / "edits/latents/001.safetensors").write_bytes(b"torn")
    made = evaluate(_spec(tmp_path / "edits", "nscd"), Store(tmp_path / "home"))
    assert made["edits"]["inversion"]["nscd"]["n"] == 2
    assert made["images"]["001"]["inversion"]["nscd"] is None
    (failure,) = made["failures"]
    assert (failure["key"], failure["what"]) == ("001", "latents")
    assert "001.safetensors" in failure["reason"]


def test_batches_change_nothing(tmp_path: Path, small: MobileStyleGAN) -> None:
    _run(tmp_path / "edits", count=5)
    one, many = (
        evaluate(EvaluateSpec(run=tmp_path / "edits", metrics=("nscd", "lec"), batch_size=n), Store(tmp_path / "home"))
        for n in (1, 4)
    )
    for key, edits in one["images"].items():
        assert edits["inversion"] == pytest.approx(many["images"][key]["inversion"], rel=1e-4)


def test_mistakes_are_told_before_anything_loads(tmp_path: Path, small: MobileStyleGAN) -> None:
    run, store = tmp_path / "edits", Store(tmp_path / "home")
    _run(run)
    with pytest.raises(UsageError, match="another file of 'weights-of-g'"):
        evaluate(_spec(run, "nscd"), Store(tmp_path / "home", **{"weights-of-g": "bbb"}))
    (run / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json' cannot be read"):
        evaluate(_spec(run, "nscd"), store)
    (run / "run.json").write_text(json.dumps({"command": "align", "spec": {}}))
    with pytest.raises(UsageError, match="which generator"):
        evaluate(_spec(run, "lec-yaw"), store)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "000.png").write_bytes(encode(picture(0), "png"))
    with pytest.raises(UsageError, match="holds no codes, which nscd needs"):
        evaluate(EvaluateSpec(run=plain, reference=tmp_path / "faces", metrics=("nscd",)), store)
    assert not store.asked


def test_a_run_in_shards_says_what_it_used(tmp_path: Path) -> None:
    body = {"spec": {"generator": "mobile-ffhq"}}
    (tmp_path / "run.2-of-3.json").write_text(json.dumps(body))
    assert read_run(tmp_path) == body
