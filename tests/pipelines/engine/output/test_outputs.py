"""What a run writes, kind by kind: what holds when an option changes, masks, folders of the version before."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pipelines
from pipelines.engine import plan as engine_plan
from pipelines.engine.plan import plan_run
from pipelines.engine.run import run_job
from pipelines.records import manifest
from pipelines.records.manifest import read_manifest
from pipelines.records.outputs import FACE, INVERSION, LATENTS, Output, edit_of, mask_of, photo_of
from pipelines.specs import EditSpec
from pipelines.types import Composition, Rendered
from pipelines.weights.assets import packed_path
from pipelines.weights.store import StoreConfig, WeightStore
from tests.factories import SIZE, FakeChain, edit_job, face_names, output_files, write_photo, write_photos


def times(folder: Path, *kinds: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for kind in kinds for path in (folder / kind).rglob("*.*")}


def test_names_and_places() -> None:
    assert Output(FACE, "face", ".png", "").path("a/b") == "a/b.png"
    assert Output(photo_of("smile+2"), "photo", ".jpg", "").path("a") == "photos/smile+2/a.jpg"
    assert [edit_of(k) for k in (FACE, LATENTS, INVERSION, "age-1", mask_of("age-1"), photo_of("age-1"))] == [
        *("", "", ""),
        *("age-1", "age-1", "age-1"),
    ]


def test_no_module_spells_a_kind_but_the_table() -> None:
    literal = re.compile(r"""["'](inversion|latents|photos/.*|masks/.*)["']""")
    root = Path(pipelines.__file__).parent
    folders = [root / name for name in ("engine", "evaluation", "metrics", "stages", "training")]
    for path in [*(path for folder in folders for path in folder.rglob("*.py")), root / "api.py"]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = literal.search(line) and "Output(" not in line and "per ==" not in line
            assert not found or "attrgetter" in line, f"{path}:{number}: {line}"


def test_another_compensator_keeps_codes(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 3), tmp_path / "out"
    run_job(edit_job(raw, out))
    codes, pictures = times(out, LATENTS), times(out, INVERSION, "smile+2")
    chain = FakeChain()
    assert run_job(edit_job(raw, out, chain=chain, compensate="sdic")).ok == 3
    assert chain.inverted == []
    assert times(out, LATENTS) == codes
    assert not set(times(out, INVERSION, "smile+2").items()) & set(pictures.items())
    assert run_job(edit_job(raw, out, compensate="sdic")).skipped == 3


def test_another_format_makes_pictures_alone(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out))
    codes = times(out, LATENTS)
    chain = FakeChain()
    run_job(edit_job(raw, out, chain=chain, format="webp"))
    assert (chain.inverted, times(out, LATENTS)) == ([], codes)
    assert read_manifest(out)["p00"].outputs["smile+2"] == "smile+2/p00.webp"


def test_a_changed_direction_renders_its_own_edits_alone(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    attrs = ["smile=+2", "age=-1"]
    run_job(edit_job(raw, out, attrs))
    others, old = times(out, INVERSION, LATENTS, "smile+2"), times(out, "age-1")
    run_job(edit_job(raw, out, attrs, decides={"age-1": "another vector"}))
    assert times(out, INVERSION, LATENTS, "smile+2") == others
    assert not set(times(out, "age-1").items()) & set(old.items())


def test_edits_that_are_not_asked_for_stay_noted_while_their_inversion_holds(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out, ["smile=+2"]))
    run_job(edit_job(raw, out, ["age=-1"]))
    assert run_job(edit_job(raw, out, ["smile=+2", "age=-1"])).skipped == 2
    run_job(edit_job(raw, out, ["age=-1"], compensate="sdic"))
    assert set(read_manifest(out)["p00"].outputs) == {INVERSION, LATENTS, "age-1"}


class HalfMasked(FakeChain):
    """Changes the left half only, and says so."""

    def edit(self, faces, inversion, edits):  # type: ignore[no-untyped-def]
        made = super().edit(faces, inversion, edits)
        mask = torch.zeros(len(faces), 1, SIZE, SIZE)
        mask[..., : SIZE // 2] = 1.0
        composed = {
            name: Composition(faces.images * (1 - mask) + each.image.clamp(-1, 1) * mask, mask)
            for name, each in made.edits.items()
        }
        return Rendered(made.base, composed)


class Losing(FakeChain):
    """An edit of more than 5 leaves no face in the first photo."""

    def edit(self, faces, inversion, edits):  # type: ignore[no-untyped-def]
        made = super().edit(faces, inversion, edits)
        first = torch.tensor([name == "p00" for name in face_names(faces)])
        lost = {edit.name: first & (edit.terms[0][1] > 5) for edit in edits}
        return Rendered(made.base, {name: replace(each, lost=lost[name]) for name, each in made.edits.items()})


def test_an_edit_that_loses_the_face_is_a_failure_and_the_others_are_results(tmp_path: Path) -> None:
    raw, out, attrs = write_photos(tmp_path / "raw", 2), tmp_path / "out", ["smile=+2", "smile=+9"]
    summary = run_job(edit_job(raw, out, attrs, chain=Losing(), masks=True, paste=True))
    assert (summary.ok, summary.failures, summary.exit_code) == (1, {"noise": 1}, 3)
    lost, kept = (read_manifest(out)[key] for key in ("p00", "p01"))
    assert lost.error is not None
    assert "smile+9" in lost.error.message
    of_nine = {"smile+9", "masks/smile+9", "photos/smile+9"}
    assert kept.outputs.keys() - lost.outputs.keys() == of_nine
    assert not [path for path in out.rglob("p00.*") if "smile+9" in path.as_posix()]
    assert (out / "photos" / "smile+2" / "p00.png").is_file()
    again = run_job(edit_job(raw, out, ["smile=+2"], chain=Losing(), masks=True, paste=True))
    assert (again.ok + again.skipped, again.failed) == (2, 0)


def test_masks_are_grey_pictures(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out))
    chain = HalfMasked()
    assert run_job(edit_job(raw, out, chain=chain, masks=True, compose="half")).ok == 2
    assert chain.inverted == []
    with Image.open(out / "masks" / "smile+2" / "p00.png") as mask:
        assert mask.mode == "L"
        assert np.unique(np.asarray(mask)[:, : SIZE // 2]).tolist() == [255]
        assert np.unique(np.asarray(mask)[:, SIZE // 2 :]).tolist() == [0]
    assert run_job(edit_job(raw, out, masks=True, compose="half")).skipped == 2


def as_before(folder: Path, job: Any) -> None:
    """Turns a run's manifest into one of the version before: one fingerprint, none by kind."""
    lines = []
    for record in read_manifest(folder).values():
        text = f"{record.digest} {job.outputs[0].before} None"
        body = json.loads(replace(record, fingerprint=hashlib.sha256(text.encode()).hexdigest()).to_line())
        del body["prints"]
        lines.append(json.dumps(body, separators=(",", ":")) + "\n")
    (folder / manifest.MANIFEST).write_text("".join(lines))


def test_a_folder_of_the_version_before_goes_on(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 3), tmp_path / "out"

    def job(attrs: list[str], before: str = "0.2") -> Any:
        made = edit_job(raw, out, attrs)
        return replace(made, outputs=tuple(replace(output, before=before) for output in made.outputs))

    run_job(job(["smile=+2"]))
    as_before(out, job(["smile=+2"]))
    assert run_job(job(["smile=+2"])).skipped == 3
    old = times(out, INVERSION, LATENTS, "smile+2")
    assert run_job(job(["age=-1"])).ok == 3
    assert times(out, INVERSION, LATENTS, "smile+2") == old
    assert run_job(job(["smile=+2", "age=-1"])).skipped == 3
    as_before(out, job(["smile=+2"], "another"))
    assert run_job(job(["smile=+2"])).ok == 3


# Of manifests that the version before wrote: a method, and the one fingerprint of the item whose digest follows.
BEFORE = {
    "lsap": "e21cf51f83df1736edf2161d4aa2fa7542186b20aa839bf4d164f1e4c0c6fb02",
    "sdic": "fc0709e468a94bd78ecd5dda38b07bb3076c421551a77a75a115d31f2408f852",
    "feature": "9fb301a6724c2bcc581064b3687b840b0f350db61e9373174b5ea715a52fb172",
}
ASTRONAUT = "a4c076792c09b44e6dd5e78913108573bdc7ada18bbaf597085ac5e60032bfcd"


@pytest.mark.parametrize("method", BEFORE)
def test_fingerprints_of_the_version_before_are_known(tmp_path: Path, method: str) -> None:
    store = WeightStore(StoreConfig.from_env({}, tmp_path / "none", offline=True))
    raw, edits = write_photos(tmp_path / "raw", 1), ["yaw=+1", "smile=+2", "age@0-8=+1"]
    spec = EditSpec(input=raw, output=tmp_path / "out", edits=edits, method=method, compose="none", device="cpu")
    outputs = {output.kind: output for output in plan_run(spec, store).outputs}
    for kind in (INVERSION, LATENTS, "yaw+1"):
        text = f"{ASTRONAUT} {outputs[kind].before} None"
        assert hashlib.sha256(text.encode()).hexdigest() == BEFORE[method]
    assert not any(outputs[kind].before for kind in ("smile+2", "age@0-8+1"))  # other directions since
    composed = plan_run(spec.model_copy(update={"compose": "detail"}), store).outputs
    assert [output.kind for output in composed if output.before] == [INVERSION, LATENTS]


def test_a_chain_is_planned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    real = engine_plan.plan_chain

    def counted(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(engine_plan, "plan_chain", counted)
    store = WeightStore(StoreConfig.from_env({}, tmp_path / "none", offline=True))
    spec = EditSpec(input=write_photos(tmp_path / "raw", 1), output=tmp_path / "out", edits=["smile=+2"], device="cpu")
    job = plan_run(spec, store)
    job.make_work(job.devices[0])
    engine_plan.describe(job, store)
    assert len(calls) == 1


def test_codes_that_are_not_finite_or_of_another_shape_are_made_anew(tmp_path: Path) -> None:
    from safetensors.torch import load, save

    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    run_job(edit_job(raw, out))
    good = output_files(out)
    for change in (lambda t: t * float("nan"), lambda t: t[:, :5]):
        path = out / LATENTS / "p00.safetensors"
        data = path.read_bytes()
        about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        tensors = load(data)
        tensors["residual.4b"] = change(tensors["residual.4b"]).contiguous()
        path.write_bytes(save(tensors, metadata=about))
        os.unlink(out / "smile+2" / "p00.png")
        summary = run_job(edit_job(raw, out))
        assert (summary.ok, summary.failed) == (1, 0)
        assert output_files(out)["smile+2/p00.png"] == good["smile+2/p00.png"]
        path.write_bytes(data)


def test_a_name_that_is_too_long_with_its_suffix_is_cut(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    names = ["x" * 251, "x" * 250 + "y", "\N{GRINNING FACE}" * 62 + "abc"]
    for number, name in enumerate(names):
        write_photo(raw / f"{name}.png", number)
    assert run_job(edit_job(raw, out, paste=True)).ok == 3
    records = read_manifest(out)
    assert set(records) == set(names)
    for record in records.values():
        assert all(len(Path(path).name.encode()) <= 255 and (out / path).is_file() for path in record.outputs.values())
        assert record.outputs["smile+2"] == f"smile+2/{record.key}.png"
    assert len({record.outputs[LATENTS] for record in records.values()}) == 3
    assert run_job(edit_job(raw, out, paste=True)).skipped == 3
    chain = FakeChain()
    assert run_job(edit_job(raw, out, ["age=-1"], chain=chain)).ok == 3
    assert chain.inverted == []


def test_an_animation_shows_all_edits_also_when_they_are_there_already(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 2), tmp_path / "out"
    edits = ["smile=-2:2:2"]
    run_job(edit_job(raw, out, edits))
    chain = FakeChain()
    assert run_job(edit_job(raw, out, edits, chain=chain, animate=True)).ok == 2
    assert chain.inverted == []
    with Image.open(out / "animation" / "p00.webp") as shown:
        assert (
            shown.n_frames == 2 * len(read_manifest(out)["p00"].outputs.keys() & {"smile-2", "smile+0", "smile+2"}) - 2
        )
    assert read_manifest(out)["p01"].outputs["animation"] == "animation/p01.webp"


def test_directions_of_the_version_before_are_the_same_numbers() -> None:
    tensors = load_file(packed_path("directions-mobile-ffhq.safetensors"))
    five = ("eyes_open", "gender", "mouth_open", "pitch", "yaw")
    text = b"".join(tensors[name].float().numpy().tobytes() for name in five)
    assert hashlib.sha256(text).hexdigest() == "0efe24b31a984c2721ec77263aff4450a2a09361d3eba3afe6d340f795cffe71", (
        "before.DIRECTIONS may only stand for these"
    )


class Drawing(FakeChain):
    """Says what the generator drew for edits of more than 5."""

    def edit(self, faces, inversion, edits):  # type: ignore[no-untyped-def]
        made = super().edit(faces, inversion, edits)
        nobody = torch.zeros(len(faces), dtype=torch.bool)
        drawn = {edit.name: faces.images if edit.terms[0][1] > 5 else None for edit in edits}
        return Rendered(
            made.base, {name: replace(each, lost=nobody, drawn=drawn[name]) for name, each in made.edits.items()}
        )


class Watch:
    """Misses the face in everything that it is shown."""

    def lost(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        assert (before.dtype, after.dtype, len(before)) == (torch.uint8, torch.uint8, len(after))
        return torch.ones(len(after), dtype=torch.bool)


def test_only_edits_beyond_their_range_are_looked_at_and_lose_their_face(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 3), tmp_path / "out"
    job = edit_job(raw, out, ["smile=+2", "smile=+9"], chain=Drawing())
    batcher = job.make_work("cpu")
    batcher._watch = Watch()  # type: ignore[attr-defined]
    object.__setattr__(job, "make_work", lambda device: batcher)
    summary = run_job(job)
    assert (summary.ok, summary.failures) == (0, {"noise": 3})
    assert len(list((out / "smile+2").iterdir())) == 3
    assert len(list((out / "latents").iterdir())) == 3
    assert not (out / "smile+9").exists() or not list((out / "smile+9").iterdir())
