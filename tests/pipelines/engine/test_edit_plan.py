"""`--plan`: edits of single photos and faces; nothing else is read, made or made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.events import RunSummary
from pipelines.engine.plan import describe, plan_run
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.images.pixels import decode
from pipelines.records.edit_plan import read_plan
from pipelines.records.manifest import read_manifest
from pipelines.records.outputs import planned_photo, planned_round
from pipelines.records.photos import Origin, Photo
from pipelines.specs import EditSpec
from pipelines.weights.store import StoreConfig, WeightStore
from tests.factories import (
    SIZE,
    FakeChain,
    FakeFaces,
    GivenCrops,
    align_job,
    edit_job,
    output_files,
    picture,
    write_photos,
)


def plan_file(folder: Path, *rows: str) -> Path:
    path = folder / "edits.csv"
    path.write_text("\n".join(["key,face,attr", *rows]) + "\n")
    return path


def run(tmp_path: Path, *rows: str, **options: object) -> RunSummary:
    chain = options.pop("chain", None)
    fake = options.pop("fake", FakeFaces(count=3))
    job = edit_job(
        tmp_path / "raw", tmp_path / "out", options.pop("attrs", ()), chain=chain, fake=fake, faces="all",
        plan=plan_file(tmp_path, *rows), **options,
    )  # fmt: skip
    return run_job(job)


def made(tmp_path: Path) -> list[str]:
    return sorted(name for name in output_files(tmp_path / "out") if name.startswith(("smile", "age", "photos")))


def test_each_face_gets_its_own_edits_and_no_other_photo_is_read(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 4)
    chain = FakeChain()
    summary = run(tmp_path, "p00,1,smile=+2", "p00,1,age=-1", "p01.png,,smile=+2", chain=chain)
    assert (summary.ok, summary.exit_code) == (6, 0)
    assert made(tmp_path) == ["age-1/p00.1.png", *(f"smile+2/{k}.png" for k in ("p00.1", "p01.1", "p01.2", "p01"))]
    assert sum(chain.batches) == 4, "faces without edits are not inverted"
    assert set(read_manifest(tmp_path / "out")) == {"p00", "p00.1", "p00.2", "p01", "p01.1", "p01.2"}


def test_changed_plan_makes_only_what_changed(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 2)
    run(tmp_path, "p00,0,smile=+2", "p01,0,smile=+2")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/smile+2").iterdir()}
    chain = FakeChain()
    summary = run(tmp_path, "p00,0,smile=+2", "p01,0,smile=+2", "p01,0,age=+1", chain=chain)
    assert (summary.ok, summary.skipped) == (1, 5)
    assert chain.batches == [], "codes on disk are used"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out/smile+2").iterdir()} == before
    assert (tmp_path / "out/age+1/p01.png").exists()
    assert run(tmp_path, "p00,0,smile=+2", "p01,0,smile=+2", "p01,0,age=+1").skipped == 6


def test_pasted_photo_has_every_face_with_its_own_edit(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 1)
    rows = ["p00,0,smile=+2", "p00,2,smile=-2", "p00,2,smile=+1"]
    assert run(tmp_path, *rows, paste=True).ok == 3
    assert [name for name in made(tmp_path) if name.startswith("photos")] == [
        "photos/plan.2/p00.png",
        "photos/plan/p00.png",
    ]
    both, second = (decode((tmp_path / f"out/photos/{name}/p00.png").read_bytes()) for name in ("plan", "plan.2"))
    lighter, darker = (np.sign(both.astype(int) - picture(0)) == sign for sign in (1, -1))
    assert lighter[:4].any()
    assert darker[SIZE - 2 : SIZE + 2, 8:24].any()
    assert not (second.astype(int) < picture(0)).any(), "the second picture has the last face's second edit alone"
    assert run(tmp_path, *rows, paste=True).skipped == 3
    again = run(tmp_path, *rows[:2], "p00,2,smile=+2", paste=True)
    assert again.ok == 3, "faces of one photo are pasted together"
    assert (decode((tmp_path / "out/photos/plan.2/p00.png").read_bytes()).astype(int) > second).any()


def test_attr_goes_to_every_photo_beside_the_plan(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 2)
    run(tmp_path, "p01,0,smile=+2", attrs=("age=-1",), fake=FakeFaces())
    assert made(tmp_path) == ["age-1/p00.png", "age-1/p01.png", "smile+2/p01.png"]


@pytest.mark.parametrize("shard", [None, (2, 2)])
def test_what_is_not_there_is_told_at_the_end(tmp_path: Path, shard: tuple[int, int] | None) -> None:
    write_photos(tmp_path / "raw", 2)
    rows = ["p00,,smile=+1", "p01,,smile=+1", "gone,,smile=+1", "lost,3,smile=+1"]
    summary = run(tmp_path, *rows, shard=shard)
    assert summary.exit_code == 3
    assert [w for w in summary.warnings if "plan" in w] == [
        "2 keys of the plan are not in the input ('gone', 'lost'); a key is a path below it"
    ]


def test_plan_of_which_nothing_is_there(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 1)
    summary = run(tmp_path, "gone,,smile=+1")
    assert summary.exit_code == 4
    assert any(w.startswith("1 key of the plan is not in the input ('gone')") for w in summary.warnings)


def test_face_that_is_not_there_fails_alone(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 1)
    rows = ("p00,1,smile=+1", "p00,7,smile=+1")
    summary = run(tmp_path, *rows)
    assert (summary.ok, summary.failures, summary.exit_code) == (3, {"no-such-face": 1}, 3)
    again = run(tmp_path, *rows)
    assert (again.skipped, again.failures, again.exit_code) == (3, {"no-such-face": 1}, 3)
    error = read_manifest(tmp_path / "out")["p00.7"].error
    assert error is not None
    assert "face 7" in error.message
    assert "has 3" in error.message


def test_workers_do_the_same(tmp_path: Path) -> None:
    write_photos(tmp_path / "raw", 3)
    rows = ["p00,1,smile=+2", "p01,,age=-1", "p01,2,smile=+2"]
    run(tmp_path, *rows, paste=True)
    here = output_files(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "before")
    run(tmp_path, *rows, paste=True, workers=2, batch_size=1)
    assert output_files(tmp_path / "out") == here


def test_crops_are_found_by_their_photo_and_by_their_own_key(tmp_path: Path) -> None:
    raw, crops, out = write_photos(tmp_path / "raw", 1), tmp_path / "crops", tmp_path / "out"
    run_job(align_job(raw, crops, fake=FakeFaces(count=3), faces="all"))
    plan = plan_file(tmp_path, "p00,1,smile=+2", "p00.2,,age=-1")
    assert run_job(edit_job(crops, out, (), fake=GivenCrops(), plan=plan, paste=True)).exit_code == 0
    assert made(tmp_path) == ["age-1/p00.2.png", "photos/plan/p00.png", "smile+2/p00.1.png"]


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    table = read_plan(plan_file(tmp_path, 'a/b,,"smile=+2,age=-1"', "a/b,1,smile=-1:1:1"))
    listed = tmp_path / "edits.json"
    listed.write_text(
        json.dumps([{"key": "a/b", "attr": "smile=+2,age=-1"}, {"key": "a/b", "face": 1, "attr": "smile=-1:1:1"}])
    )
    assert read_plan(listed) == table
    semicolons = tmp_path / "spreadsheet.csv"
    semicolons.write_bytes("\ufeffkey;face;attr\r\na/b;;smile=+2,age=-1\r\na/b;1;smile=-1:1:1\r\n".encode())
    assert read_plan(semicolons) == table
    photo = Photo("a/b", "/x/a/b.jpg")
    assert table.of(photo, 0) == ("smile+2,age-1",)
    assert table.of(photo, 1) == ("smile+2,age-1", "smile-1", "smile+0", "smile+1")
    crop = Photo("a/b.1", "/crops/a/b.1.png", origin=Origin("/x/a/b.jpg", "", ((0, 0), (0, 1), (1, 1), (1, 0))))
    assert table.of(crop, 0) == table.of(photo, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column attr or key"),
        ("key,attr\n", "no rows"),
        ("key,attr\na,smile\n", "row 1: cannot read the edit 'smile'"),
        ("key,attr\n,smile=1\n", "row 1 'key'"),
        ("key,face,attr\na,-1,smile=1\n", "row 1 'face'"),
        ("key,face,attr\na,x,smile=1\n", "row 1 'face'"),
        ("key,attr\na,smile=1,age=2\n", "quote combinations"),
        ("key,attr,note\na,smile=1,x\n", "row 1 'note'"),
        ('[{"key": "a", "face": true, "attr": "smile=1"}]', "row 1 'face'"),
    ],
)
def test_mistakes_are_told_with_their_row(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / ("plan.json" if text.startswith("[") else "plan.csv")
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_plan(path)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "absent.csv")
    for text in ("{}", "[1]", "["):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(UsageError, match="the plan"):
            read_plan(tmp_path / "plan.json")


def test_strengths_outside_the_measured_range_are_warned_of_once(tmp_path: Path) -> None:
    store = WeightStore(StoreConfig.from_env({}, tmp_path / "none", offline=True))
    raw, plan = write_photos(tmp_path / "raw", 1), plan_file(tmp_path, "p00,,smile=-2:9:1", "p00,,age=1")
    edits = ["smile@3-7=1e6", "smile=+8", "age=1.5"]
    job = plan_run(EditSpec(inputs=(raw,), output=tmp_path / "out", edits=edits, plan=plan, device="cpu"), store)
    assert [sentence.partition(" to ")[0] for sentence in job.warnings] == [
        "smile=+9 is outside -3",
        "smile@3-7=+1e+06 is outside -3",
    ]
    assert describe(job, store)["notes"] == [*job.warnings]
    assert not plan_run(
        EditSpec(inputs=(raw,), output=tmp_path / "out", edits=["smile=+2"], device="cpu"), store
    ).warnings


def test_kinds_of_planned_photos() -> None:
    assert [planned_round(planned_photo(number)) for number in range(3)] == [0, 1, 2]
    assert planned_round("photos/plan+2") is None
