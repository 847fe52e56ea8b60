"""The verb on runs made here: real files and manifests, pixel metrics, and stand-ins for the networks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.engine.events import ProgressEvent
from pipelines.errors import NoInputError, RequirementError, UsageError
from pipelines.evaluation import evaluate as verb
from pipelines.evaluation.evaluate import RequirementUnmet, evaluate
from pipelines.evaluation.loading import LoadedRow, load_row, read_ahead
from pipelines.evaluation.pairing import Pairing, Row, pair_run
from pipelines.evaluation.scoring import Evaluation
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.images.geometry import crop_quad
from pipelines.images.pixels import encode
from pipelines.metrics.faces import Trio
from pipelines.metrics.identity import DlibDescriptors, DlibIdentity
from pipelines.records.manifest import Record
from pipelines.types import Failure, U8Image
from tests.pipelines.evaluation.making import SIZE, make_run, make_spec, manifest, record, save
from tests.pipelines.metrics.fakes import CPU, FakeStore, black, locate, noisy, picture


def test_a_run_is_scored_and_written(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    made = evaluate(make_spec(run), FakeStore())
    assert made["count"] == 3
    assert list(made["edits"]) == ["inversion", "smile+2"]
    figures = made["edits"]["inversion"]["mse"]
    values = [made["images"][f"{n:03}"]["inversion"]["mse"] for n in range(3)]
    assert figures == {"mean": pytest.approx(np.mean(values)), "median": values[1], "n": 3, "better": "lower"}
    assert values == sorted(values)
    assert values[0] > 0
    assert [row["key"] for row in made["worst"]["inversion"]["psnr"]] == ["002", "001", "000"]
    assert made["failures"] == []
    assert {**json.loads((run / "metrics.json").read_text()), "folder": str(run)} == made
    assert b"smile+2" in (run / "report.html").read_bytes()
    assert (run / "contact.png").stat().st_size > 1000
    assert not list(run.rglob("*.part"))


def test_values_are_those_of_the_pictures(tmp_path: Path) -> None:
    """Against plain numpy on the files' own pixels (256 px, so nothing is resized)."""
    run = make_run(tmp_path, count=1)
    made = evaluate(make_spec(run), FakeStore())
    from pipelines.images.pixels import decode

    source, result = (
        decode(path.read_bytes()) / 127.5 for path in (tmp_path / "faces/000.png", run / "smile+2/000.png")
    )
    mse = float(np.square(source - result).mean())
    values = made["images"]["000"]["smile+2"]
    assert values["mse"] == pytest.approx(mse, rel=1e-4)
    assert values["psnr"] == pytest.approx(10 * math.log10(4 / mse), abs=1e-3)


def test_batches_and_threads_change_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=5)
    one = evaluate(make_spec(run, batch_size=1, num_workers=1), FakeStore())
    many = evaluate(make_spec(run, batch_size=4, num_workers=3), FakeStore())
    assert one["edits"]["smile+2"]["mse"]["mean"] == pytest.approx(many["edits"]["smile+2"]["mse"]["mean"], rel=1e-6)
    assert one["worst"].keys() == many["worst"].keys()
    assert list(one["images"]) == list(many["images"])


def test_a_second_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    files = ("metrics.json", "report.html", "contact.png")
    evaluate(make_spec(run), FakeStore())
    first = [(run / name).read_bytes() for name in files]
    evaluate(make_spec(run), FakeStore())
    assert first == [(run / name).read_bytes() for name in files]


def test_without_report_only_the_numbers_are_written(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    evaluate(make_spec(run, report=False), FakeStore())
    assert (run / "metrics.json").is_file()
    assert not (run / "report.html").exists()
    assert not (run / "contact.png").exists()


def test_a_face_in_a_photo_is_cut_out_again(tmp_path: Path) -> None:
    photo = picture(7, 700)
    quad = ((100.0, 150.0), (100.0, 450.0), (400.0, 450.0), (400.0, 150.0))
    source = save(tmp_path / "raw" / "a.png", photo)
    crop = crop_quad(photo, quad, SIZE)
    run = tmp_path / "edits"
    manifest(run, [record(run, source, "a", {"inversion": crop}, quad=quad)])
    assert evaluate(make_spec(run), FakeStore())["edits"]["inversion"]["mse"]["mean"] == 0


def test_trouble_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=5)
    (tmp_path / "faces/000.png").unlink()
    save(tmp_path / "faces/001.png", picture(99, SIZE))
    (run / "smile+2/002.png").write_bytes((run / "smile+2/002.png").read_bytes()[:900])
    failed = Record("999", "x.jpg", status="failed", error=Failure("align", "no-face", "no face was found in 'x.jpg'"))
    manifest(run, [failed, Record("gone", "y.jpg", status="skipped")])
    made = evaluate(make_spec(run), FakeStore())
    assert made["count"] == 3
    assert made["edits"]["inversion"]["mse"]["n"] == 3
    assert made["edits"]["smile+2"]["mse"]["n"] == 2
    told = {(failure["key"], failure["what"]): failure["reason"] for failure in made["failures"]}
    assert set(told) == {("000", "source"), ("001", "source"), ("002", "smile+2"), ("999", "run")}
    assert "000.png" in told["000", "source"]
    assert "has changed" in told["001", "source"]
    assert "002.png" in told["002", "smile+2"]
    assert "no-face" in told["999", "run"]
    assert "no face was found" in (run / "report.html").read_text()


def test_reference_pairs_by_key_never_by_position(tmp_path: Path) -> None:
    run, reference = tmp_path / "out", tmp_path / "ref"
    for name, seed in [("a", 0), ("sub/b", 1), ("z", 2)]:
        save(run / f"{name}.png", picture(seed, SIZE))
    for name, seed in [("sub/b", 1), ("z", 2), ("0-first", 3)]:
        save(reference / f"{name}.png", picture(seed, SIZE))
    made = evaluate(make_spec(run, reference=reference), FakeStore())
    assert {key: row["inversion"]["mse"] for key, row in made["images"].items()} == {"sub/b": 0, "z": 0}
    assert made["reference"] is True
    assert made["unused_references"] == 1
    assert [(failure["key"], failure["what"]) for failure in made["failures"]] == [("a", "source")]
    again = evaluate(make_spec(run, reference=reference), FakeStore())
    assert again == made, "the contact sheet of the first evaluation is not a face of the second"


def test_reference_replaces_the_sources_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=2)
    save(tmp_path / "ref/001.png", noisy(picture(1, SIZE), 8, 1))
    made = evaluate(make_spec(run, reference=tmp_path / "ref"), FakeStore())
    assert made["images"]["001"]["inversion"]["mse"] == 0
    assert made["count"] == 1


def test_mistakes_are_told_before_anything_loads(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    (tmp_path / "plain").mkdir()
    store = FakeStore()
    with pytest.raises(UsageError, match="unknown metric 'pnsr'; known: psnr"):
        evaluate(make_spec(run, "pnsr", "lpips"), store)
    with pytest.raises(UsageError, match=r"id>=0\.5"):
        evaluate(make_spec(run, require=("id=0.5",)), store)
    with pytest.raises(UsageError, match="'nothere' is not a folder"):
        evaluate(make_spec(Path("nothere"), "lpips"), store)
    with pytest.raises(UsageError, match="give --reference"):
        evaluate(make_spec(tmp_path / "plain", "lpips"), store)
    save(tmp_path / "ref/a.png", picture(0))
    (tmp_path / "ref/a.jpg").write_bytes(encode(picture(0), "jpg"))
    with pytest.raises(UsageError, match=r"a\.jpg.*a\.png.*one key"):
        evaluate(make_spec(run, "lpips", reference=tmp_path / "ref"), store)
    assert not store.asked


def test_nothing_to_evaluate_is_an_error_with_an_example(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no picture called '000'"):
        evaluate(make_spec(run, reference=tmp_path / "empty"), FakeStore())
    (tmp_path / "faces/000.png").write_bytes(b"no picture")
    with pytest.raises(NoInputError, match="not one pair"):
        evaluate(make_spec(run), FakeStore())
    assert not (run / "metrics.json").exists()


def test_an_unmet_requirement_raises_after_everything_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    made = evaluate(make_spec(run, require=("mse<=0.5", "psnr>=10")), FakeStore())
    assert [outcome["met"] for outcome in made["requirements"]] == [True, True]
    (run / "report.html").unlink()
    with pytest.raises(RequirementUnmet, match=r"psnr of 'inversion' is .* but >=99 is required") as caught:
        evaluate(make_spec(run, "mse", require=("mse<=0.5", "psnr>=99")), FakeStore())
    assert isinstance(caught.value, RequirementError)
    assert caught.value.exit_code == 6
    assert "mse of" not in str(caught.value)
    assert {**json.loads((run / "metrics.json").read_text()), "folder": str(run)} == caught.value.metrics
    assert b"not met" in (run / "report.html").read_bytes()


def test_a_requirement_may_name_an_edit(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(RequirementUnmet, match=r"mse of 'smile\+2'"):
        evaluate(make_spec(run, require=("smile+2:mse<=0.01",)), FakeStore())


def test_progress_counts_faces(tmp_path: Path) -> None:
    run = make_run(tmp_path, count=3)
    (run / "inversion/001.png").unlink()
    (run / "smile+2/001.png").unlink()
    events: list[ProgressEvent] = []
    evaluate(make_spec(run, batch_size=2), FakeStore(), events.append)
    assert [event.kind for event in events] == ["start", "item", "item", "item", "end"]
    assert (events[-1].done, events[-1].failed, events[-1].total) == (2, 1, 3)


def _shade(chips: Tensor) -> Tensor:
    made = torch.zeros(len(chips), 128)
    made[:, 0] = chips.mean(dim=(1, 2, 3)) * 3
    return made


def _scored(rows: list[Row], *metrics: Any) -> Evaluation:
    evaluation = Evaluation(metrics, CPU, locate)
    evaluation.run(Pairing(rows), batch_size=4, num_workers=1)
    return evaluation


def _rows(tmp_path: Path, sources: dict[str, U8Image], results: dict[str, U8Image]) -> list[Row]:
    return [
        Row(
            key,
            str(save(tmp_path / f"s/{key}.png", image)),
            {"inversion": str(save(tmp_path / f"r/{key}.png", results[key]))},
        )
        for key, image in sources.items()
    ]


def test_unmeasurable_faces_are_left_out_of_means_and_come_first(tmp_path: Path) -> None:
    """A source without a face has no identity; a result without one is nobody, and counted."""
    sources = {"a": picture(0), "b": black(), "c": picture(2), "d": picture(3)}
    results = {"a": picture(0), "b": picture(1), "c": black(), "d": noisy(picture(3), 9)}
    evaluation = _scored(_rows(tmp_path, sources, results), DlibIdentity(DlibDescriptors(_shade)))
    made = evaluation.result(False, 0, [], [])
    figures = made["edits"]["inversion"]["id-dlib"]
    assert figures["n"] == 3
    assert made["images"]["b"]["inversion"]["id-dlib"] is None
    assert made["images"]["a"]["inversion"]["id-dlib"] == 1
    assert made["images"]["c"]["inversion"]["id-dlib"] == 0, "its source's landmarks would say more"
    assert made["faceless"] == {"inversion": 1}
    assert "identity counts as 0" in made["notes"][0]
    assert [row.key for row in evaluation.worst.rows()][:2] == ["b", "c"]


def test_edits_are_compared_with_the_inversion_by_metrics_of_change(tmp_path: Path) -> None:
    class Spy:
        name = "attributes"

        def __init__(self) -> None:
            self.bases: list[str] = []

        def score(self, trio: Trio) -> dict[str, Tensor]:
            assert trio.base is not None
            self.bases.append("source" if trio.base is trio.source else "inversion")
            return {"attributes.light": (trio.result.pixels - trio.base.pixels).mean(dim=(1, 2, 3))}

    spy, flat = Spy(), np.full((SIZE, SIZE, 3), 100, np.uint8)
    results = {"inversion": flat + np.uint8(10), "light+1": flat + np.uint8(30)}
    paths = {edit: str(save(tmp_path / edit / "a.png", image)) for edit, image in results.items()}
    made = _scored([Row("a", str(save(tmp_path / "a.png", flat)), paths)], spy).result(False, 0, [], [])
    assert spy.bases == ["source", "inversion"]
    assert made["edits"]["light+1"]["attributes"]["light"]["mean"] == pytest.approx(20 / 127.5, rel=1e-4)
    assert made["images"]["a"]["inversion"]["attributes"]["light"] == pytest.approx(10 / 127.5, rel=1e-4)


def test_read_ahead_keeps_the_order_and_a_bounded_number_in_flight() -> None:
    started: list[int] = []

    def work(value: int) -> int:
        started.append(value)
        return value * value

    taken = []
    for result in read_ahead(work, range(50), workers=3, ahead=5):
        taken.append(result)
        assert len(started) <= len(taken) + 5
    assert taken == [value * value for value in range(50)]


def test_pasted_photos_and_codes_are_not_judged(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", picture(0))
    run = tmp_path / "edits"
    pasted = record(run, source, "a", {"inversion": picture(0), "photos/smile+2": picture(1, 300)})
    manifest(run, [pasted])
    assert list(pair_run(run, None).rows[0].results) == ["inversion"]


def test_a_picture_that_is_no_square_is_a_problem_not_a_squeezed_face(tmp_path: Path) -> None:
    wide = np.zeros((200, 300, 3), np.uint8)
    row = Row("a", str(save(tmp_path / "a.png", picture(0))), {"inversion": str(save(tmp_path / "b.png", wide))})
    loaded: LoadedRow = load_row(row)
    assert not loaded.results
    assert "300 x 200" in loaded.problems[0].reason


def test_many_rows_cap_the_report_and_keep_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.evaluation.report.WorstRows.__init__.__defaults__", (2,))
    run = make_run(tmp_path, count=4, edits=())
    made = evaluate(make_spec(run), FakeStore())
    page = (run / "report.html").read_text()
    assert len(made["images"]) == 4
    assert page.count("<article>") == 2
    assert "The 2 worst of 4" in page
    assert page.index("003") < page.index("002")


def test_the_default_metrics_are_known() -> None:
    verb.check_names(EvaluateSpec(run=Path("x")).metrics)


@pytest.mark.weights
def test_lpips_and_id_on_real_networks(tmp_path: Path, store: Any) -> None:
    """A sharp copy of a real face is nearly perfect; another pattern is neither alike nor the person."""
    from pipelines.images.pixels import decode, read_photo
    from pipelines.metrics.tools import Tools
    from pipelines.stages.align.aligner import Aligner

    crop = Aligner(Tools(store, CPU).finder, size=512)(decode(read_photo(store.path("sample-obama"))))[0].crop
    source = save(tmp_path / "faces/a.png", crop)
    run = tmp_path / "edits"
    manifest(run, [record(run, source, "a", {"inversion": noisy(crop, 3), "noise": noisy(crop, 80)})])
    names = ("lpips-st-alex", "id-dlib", "same-person")
    made = evaluate(make_spec(run, *names, require=("inversion:id-dlib>=0.8",)), store)
    good, bad = made["edits"]["inversion"], made["edits"]["noise"]
    assert good["lpips-st-alex"]["mean"] < 0.1 < bad["lpips-st-alex"]["mean"]
    assert good["id-dlib"]["mean"] > 0.8 > bad["id-dlib"]["mean"]
    assert good["same-person"]["mean"] == 1
