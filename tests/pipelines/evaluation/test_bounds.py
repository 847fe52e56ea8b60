"""What a run's folder may make `evaluate` read and write, and what becomes of sources that are not where they were."""

from __future__ import annotations

import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from pipelines.engine.events import ProgressEvent
from pipelines.errors import NoInputError, UsageError
from pipelines.evaluation.evaluate import RequirementUnmet, evaluate
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import Row, pair_run
from pipelines.images.pixels import encode
from pipelines.records.manifest import Record
from pipelines.storage import remote
from pipelines.types import Failure
from tests.pipelines.evaluation.making import SIZE, make_run, make_spec, manifest, record, save
from tests.pipelines.metrics.fakes import FakeStore, picture

PAPERS = ("metrics.json", "report.html", "contact.png")


@pytest.mark.parametrize(
    "output",
    ["../secret/private.png", "ABSOLUTE", "smile+2/../../secret/private.png", "link.png", "linked/private.png",
     "a\0.png", "https://example.com/a.png", "../secret/other.tar::private.png", "smile+2/.."],
)  # fmt: skip
def test_outputs_are_taken_from_the_runs_folder_alone(tmp_path: Path, output: str) -> None:
    private = save(tmp_path / "secret/private.png", picture(7, SIZE))
    run = make_run(tmp_path, count=1)
    (run / "link.png").symlink_to(private)
    (run / "linked").symlink_to(private.parent)
    place = str(private) if output == "ABSOLUTE" else output
    good = json.loads(next((run / "manifest.d").glob("*.jsonl")).read_text())
    outputs = {**good["outputs"], "stolen.png": place, "stolen": place}
    manifest(run, [Record(good["key"], good["source"], good["digest"], outputs=outputs)])
    pairing = pair_run(run, None)
    assert set(pairing.rows[0].results) == {"inversion", "smile+2"}
    if output != "smile+2/..":  # is no picture's name to begin with
        refused = {problem.what for problem in pairing.problems}
        assert refused in ({"stolen", "stolen.png"}, {"manifest.jsonl"}), "the output, or its whole record"
    made = evaluate(make_spec(run), FakeStore())
    assert "stolen" not in made["edits"]


def test_a_link_of_the_whole_run_is_followed(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    (tmp_path / "link").symlink_to(run)
    assert evaluate(make_spec(tmp_path / "link"), FakeStore())["count"] == 1


def test_a_crop_called_as_the_contact_sheet_stays(tmp_path: Path) -> None:
    """`align` of a photo contact.jpg made faces/contact.png."""
    faces = tmp_path / "faces"
    crops = [record(faces, save(tmp_path / f"raw/{key}.png", picture(n, SIZE)), key, {}) for n, key in enumerate("ab")]
    contact = save(faces / "contact.png", picture(5, SIZE))
    source = save(tmp_path / "raw/contact.png", picture(5, SIZE))
    made = record(faces, source, "contact", {})
    manifest(faces, [*crops, Record("contact", str(source), made.digest, outputs={"face": "contact.png"})])
    before = contact.read_bytes()
    made = evaluate(make_spec(faces), FakeStore())
    assert contact.read_bytes() == before
    assert made["folder"] == str(faces / "evaluation")
    assert sorted(path.name for path in (faces / "evaluation").iterdir()) == sorted(PAPERS)
    assert evaluate(make_spec(faces), FakeStore()) == made


def test_a_plain_folders_own_files_are_never_overwritten(tmp_path: Path) -> None:
    folder, reference = tmp_path / "mine", tmp_path / "ref"
    save(folder / "a.png", picture(0, SIZE))
    save(folder / "contact.png", picture(1, SIZE))
    for name, seed in (("a", 0), ("contact", 1)):
        save(reference / f"{name}.png", picture(seed, SIZE))
    for name in ("report.html", "metrics.json", "run.json"):
        (folder / name).write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    made = evaluate(make_spec(folder, reference=reference), FakeStore())
    assert made["count"] == 2, "a picture called contact.png is a picture"
    assert before == {path: path.read_bytes() for path in before}
    assert {path.name for path in (folder / "evaluation").iterdir()} == set(PAPERS)
    assert evaluate(make_spec(folder, reference=reference), FakeStore())["count"] == 2


@pytest.mark.parametrize("name", PAPERS)
def test_papers_of_somebody_else_in_a_run_send_ours_apart(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, count=1)
    (run / name).write_text("mine")
    made = evaluate(make_spec(run), FakeStore())
    assert (run / name).read_text() == "mine"
    assert made["folder"] == str(run / "evaluation")
    (run / "evaluation/report.html").write_text("edited by hand")
    with pytest.raises(UsageError, match=r"report\.html' is in the way"):
        evaluate(make_spec(run), FakeStore())


def test_an_evaluation_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    evaluate(make_spec(run), FakeStore())
    body = json.loads((run / "metrics.json").read_text())
    del body["written"]
    (run / "metrics.json").write_text(json.dumps(body))
    assert evaluate(make_spec(run), FakeStore())["folder"] == str(run)


def test_without_a_report_the_earlier_one_stays_ours(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    evaluate(make_spec(run), FakeStore())
    evaluate(make_spec(run, report=False), FakeStore())
    assert (run / "report.html").exists()
    assert evaluate(make_spec(run), FakeStore())["folder"] == str(run)


def test_sources_that_went_away_are_said_and_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=4)
    for number in (0, 2):
        (tmp_path / f"faces/{number:03}.png").unlink()
    manifest(run, [Record("lost", "x.jpg", status="failed", error=Failure("align", "no-face", "no face"))])
    events: list[ProgressEvent] = []
    made = evaluate(make_spec(run), FakeStore(), events.append)
    assert (made["count"], made["missing"]) == (2, 2)
    told = {event.item: event.message for event in events if event.message and event.kind == "item"}
    assert set(told) == {"000", "002"}
    assert "is not there any more; give its folder by --reference" in told["000"]
    assert [event.message for event in events if event.kind == "warning"] == made["notes"]
    assert "1 face failed in the run" in made["notes"][-1]


def test_a_requirement_does_not_pass_over_missing_pictures(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=2)
    (tmp_path / "faces/000.png").unlink()
    with pytest.raises(RequirementUnmet, match="1 picture could not be judged; --allow-missing"):
        evaluate(make_spec(run, require=("mse<=1",)), FakeStore())
    assert evaluate(make_spec(run, require=("mse<=1",), allow_missing=True), FakeStore())["missing"] == 1


@pytest.mark.parametrize("inside", ["", "deep/"])
def test_a_project_that_moved_as_a_whole_finds_its_sources(tmp_path: Path, inside: str) -> None:
    (tmp_path / "old" / inside).mkdir(parents=True)
    run = make_run(tmp_path / "old")
    if inside:
        run = run.rename(tmp_path / "old/deep/edits")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = Path(str(run).replace("/old/", "/new/"))
    made = evaluate(make_spec(moved), FakeStore())
    assert (made["count"], made["missing"]) == (3, 0)
    save(tmp_path / "new/faces/001.png", picture(50, SIZE))
    made = evaluate(make_spec(moved), FakeStore())
    assert made["missing"] == 1, "another picture under the old name is not the source"
    assert "--reference" in made["failures"][0]["reason"]


class _Quiet(SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *_: Any) -> None:
        self.asked.append(self.path)


def test_sources_behind_a_url_are_read_where_they_lie_but_not_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    run = make_run(tmp_path, count=1)
    good = json.loads(next((run / "manifest.d").glob("*.jsonl")).read_text())
    _Quiet.asked = []
    handler = partial(_Quiet, directory=str(tmp_path / "faces"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{web.server_port}/000.png"
        manifest(run, [Record(good["key"], source, good["digest"], outputs=good["outputs"])])
        assert evaluate(make_spec(run), FakeStore())["count"] == 1
        assert _Quiet.asked
        _Quiet.asked.clear()
        store = FakeStore()
        store.config.offline = True
        with pytest.raises(NoInputError, match="not fetched offline; give --reference"):
            evaluate(make_spec(run), store)
        assert not _Quiet.asked
        web.shutdown()
    with pytest.raises(NoInputError, match=r"cannot be read \(Connection refused\); give its folder by --reference"):
        evaluate(make_spec(run), FakeStore())


@pytest.mark.parametrize(
    "quad",
    [((0.0, 0.0), (0.0, 1e9), (1e9, 1e9), (1e9, 0.0)), ((float("nan"), 0.0), (0.0, 9.0), (9.0, 9.0), (9.0, 0.0)),
     ((5.0, 5.0),) * 4],
)  # fmt: skip
def test_corners_that_mean_nothing_cost_their_face(tmp_path: Path, quad: Any) -> None:
    source = save(tmp_path / "a.png", picture(0, SIZE))
    result = save(tmp_path / "b.png", picture(0, SIZE))
    loaded = load_row(Row("a", str(source), {"inversion": str(result)}, quad))
    assert loaded.source is None
    assert "corners" in loaded.problems[0].reason


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "x" * 300 + ".png", "gone.tar::a.png"])
def test_names_that_no_disk_takes_cost_their_face(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, count=1)
    good = json.loads(next((run / "manifest.d").glob("*.jsonl")).read_text())
    manifest(run, [Record("odd\x1b[31m" + name, name, good["digest"], outputs=good["outputs"], scores={"loss": 1e400})])
    made = evaluate(make_spec(run), FakeStore())
    assert (made["count"], made["missing"]) == (1, 1)
    page = (run / "report.html").read_bytes().decode()
    assert all(c.isprintable() or c == "\n" for c in page)


def test_masks_are_shown_and_are_no_edit(tmp_path: Path) -> None:
    mask = np.zeros((SIZE, SIZE, 3), np.uint8)
    mask[150:200, 100:150] = 255
    run = make_run(tmp_path, count=1)
    good = json.loads(next((run / "manifest.d").glob("*.jsonl")).read_text())
    save(run / "masks/smile+2/000.png", mask)
    outputs = {**good["outputs"], "masks/smile+2": "masks/smile+2/000.png"}
    manifest(run, [Record(good["key"], good["source"], good["digest"], outputs=outputs)])
    made = evaluate(make_spec(run), FakeStore())
    assert list(made["edits"]) == ["inversion", "smile+2"]
    page = (run / "report.html").read_text()
    assert "mask of smile+2" in page
    assert page.count('<figure class="detail">') == 2
    (run / "masks/smile+2/000.png").write_bytes(encode(mask, "png")[:99])
    made = evaluate(make_spec(run), FakeStore())
    assert made["failures"][0]["what"] == "masks/smile+2"
    assert made["missing"] == 0, "a mask is not judged"


def test_a_copied_project_needs_nothing_of_the_old_place(tmp_path: Path) -> None:
    make_run(tmp_path / "one", count=1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    assert evaluate(make_spec(tmp_path / "two/edits"), FakeStore())["count"] == 1
