"""The pieces of `benchmarks.throughput` on tiny inputs, and the paper model's arithmetic. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import throughput
from benchmarks._books import books, usual_record
from benchmarks._cases import of_run
from benchmarks._ffhq import ffhq_crop
from benchmarks._figures import (
    Figures,
    PeakMemory,
    middle,
    rate_of,
    shared_out,
    stage_means,
    steady_rate,
    tree_mb,
)
from benchmarks._inputs import camera_jpeg, camera_photos, generated_faces, repeated
from benchmarks._naive import naive_edit, plain_png
from benchmarks._plan import PAPERS, Campaign, Rates, make_plan
from benchmarks._settings import Settings
from benchmarks._table import figure_rows, plan_rows, size, span
from pipelines.edits import parse_edits
from pipelines.engine.destination import run_to_destination
from pipelines.engine.input.listing import list_input
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.run import run_job
from pipelines.engine.spread.shard import divide_among
from pipelines.engine.types import Task
from pipelines.images.decode import decode
from pipelines.images.geometry import crop_quad, ffhq_quad
from pipelines.images.pixels import encode
from pipelines.records.manifest import Record, read_manifest
from pipelines.specs import EditSpec
from pipelines.types import F32Array, U8Image
from tests.factories import SIZE, FakeChain, edit_job, output_files, picture, write_photo
from tests.tiny import tiny_generator

RATES = Rates(
    device=25.0,
    host_seconds=0.5,
    photo_bytes=4e6,
    picture_bytes={"png": 1e6, "jpg": 250e3},
    latents_bytes=37e3,
    record_bytes=600.0,
    list_seconds=1e-5,
    list_bytes=500.0,
    read_seconds=2e-5,
    read_bytes=2000.0,
    merge_seconds=4e-5,
)


def crops(folder: Path, count: int) -> Path:
    """`count` pictures that are crops of the tiny chain's size."""
    for number in range(count):
        write_photo(folder / f"p{number:02d}.png", number, SIZE)
    return folder


def no_landmarks(crop: U8Image) -> F32Array:
    return np.full((68, 2), np.nan, np.float32)


# -- the paper model


def test_time_is_that_of_the_slower_side():
    plan = make_plan(Campaign(photos=1_000_000, devices=10, cores=8), RATES)
    assert plan.device_hours == pytest.approx(1e6 / (10 * 25) / 3600)
    assert plan.host_hours == pytest.approx(1e6 * 0.5 / 80 / 3600)
    assert plan.hours == plan.host_hours > plan.device_hours
    slow = make_plan(Campaign(photos=1_000_000, devices=10, cores=8), replace(RATES, device=1.0))
    assert slow.hours == slow.device_hours == pytest.approx(1e5 / 3600)


def test_storage_counts_the_inversion_and_every_edit():
    plan = make_plan(Campaign(photos=1000, edits=2, format="jpg"), RATES)
    assert plan.picture_bytes == {"png": 3e9, "jpg": 750e6}
    assert plan.input_bytes == 4e9
    assert plan.latents_bytes == 37e6
    assert plan.write_rate * plan.hours * 3600 == pytest.approx(750e6 + 37e6)
    assert plan.read_rate * plan.hours * 3600 == pytest.approx(4e9)


def test_folders_and_archives():
    plan = make_plan(Campaign(photos=1_050_000, devices=4, edits=1, archive=1000, part=100_000), RATES)
    one, cut = plan.folders, plan.archives
    assert (one.runs, one.inodes, one.entries, one.staged) == (1, 3 * 1_050_000, 1_050_000, 0)
    assert one.manifest_bytes == 600 * 1_050_000
    assert one.start_seconds == pytest.approx(1_050_000 * 3e-5)
    assert one.job_bytes == 2500 * 1_050_000
    assert cut.runs == 11
    assert cut.inodes == 11 * 100 + 11 * PAPERS
    assert cut.staged == 4 * 1000 * 3
    assert cut.list_seconds == pytest.approx(100_000 * 1e-5)
    assert cut.merge_seconds == pytest.approx(100_000 * 4e-5)


def test_breaks_come_in_the_order_in_which_they_are_reached():
    campaign = Campaign(edits=1, folder_entries=900_000, inodes=3_000_000, job_bytes=5e9, start_seconds=45.0)
    found = make_plan(campaign, RATES).breaks
    assert [each.photos for each in found] == [900_000, 1_000_000, pytest.approx(1_500_000, abs=1), 2_000_000]
    assert found[0].what == "entries of one folder"
    assert found[-1].what == "memory of a job: listing and manifest"
    roomy = make_plan(replace(campaign, inodes=300_000, folder_entries=10**9), RATES).breaks
    assert (roomy[0].what, roomy[0].photos) == ("files that the disk grants", 100_000)


def test_a_plan_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="positive"):
        make_plan(Campaign(devices=0), RATES)
    with pytest.raises(ValueError, match="webp"):
        make_plan(Campaign(format="webp"), RATES)


def test_an_archived_run_leaves_no_more_papers_than_the_plan_counts(tmp_path: Path):
    crops(tmp_path / "in", 5)
    spec = edit_job(tmp_path / "in", tmp_path / "out-{000..}.tar", items_per_shard=2).spec
    assert isinstance(spec, EditSpec)

    def make(inner: EditSpec):
        return edit_job(tmp_path / "in", inner.output, items_per_shard=2)

    assert run_to_destination(spec, make).ok == 5
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "in" not in path.relative_to(tmp_path).parts]
    assert sum(path.suffix == ".tar" for path in left) == 3
    assert len(left) - 3 <= PAPERS


# -- figures


def test_rates_leave_the_warm_up_out():
    assert rate_of([9.0, 0.5, 0.5]) == 2.0
    assert rate_of([9.0, 9.0, 0.25], warm=2) == 4.0
    with pytest.raises(ValueError, match="too few"):
        rate_of([1.0])


def test_processes_side_by_side_add_up():
    assert steady_rate([[5.0, 6.0, 7.0]], warm=1) == 1.0
    assert steady_rate([[7.0, 5.0, 6.0], [5.5, 6.0, 6.5]], warm=1) == 1.0 + 2.0
    # Batches of two: the clock runs from the end of the first to the end of the last.
    assert steady_rate([[1.0, 1.1, 3.0, 3.1]], warm=2) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="warm up"):
        steady_rate([[1.0, 2.0], [1.0]], warm=1)


@pytest.mark.parametrize(("photos", "processes"), [(7, 2), (10, 4), (3, 3)])
def test_shares_are_the_engines(tmp_path: Path, photos: int, processes: int):
    listing = list_input(crops(tmp_path, photos)).photos
    tasks = [Task(number, photo) for number, photo in enumerate(listing)]
    engine = divide_among(tasks, Ledger(tmp_path, {}, ()), ["cpu"] * processes, processes)
    theirs = [[task.photo.key for task in share.tasks] for share in engine]
    assert shared_out([photo.key for photo in reversed(listing.first)], processes) == theirs


def test_stage_means_are_of_finished_items():
    records = [
        Record("a", "a", ms={"decode": 1.0, "edit": 4.0}),
        Record("b", "b", ms={"decode": 3.0, "edit": 8.0}),
        Record("c", "c", status="failed", ms={"decode": 100.0}),
    ]
    means = stage_means(records)
    assert means == {"decode": 2.0, "edit": 6.0}
    assert Figures(2, 1.0, stages=means).shares() == {"decode": 0.25, "edit": 0.75}


def test_the_median_round_counts():
    rounds = [Figures(1, 3.0), Figures(1, 1.0), Figures(1, 2.0)]
    assert middle(rounds).rate == 2.0
    assert middle(rounds[:2]).rate == 1.0


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell processes' memory")
def test_peak_memory_counts_children():
    grow = "import time; held = bytearray(b'x') * (60 << 20); time.sleep(1.0)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grow!r}])"
    child = subprocess.Popen([sys.executable, "-c", start])
    with PeakMemory(child, every=0.1) as memory:
        child.wait()
    assert memory.mb > 60
    assert tree_mb(child.pid) == 0


# -- inputs


def test_photos_are_made_and_repeated(tmp_path: Path):
    folder = camera_photos(encode(picture(0, 96), "png"), tmp_path / "raw", 3, megapixels=0.04)
    sizes = {decode(path.read_bytes()).shape for path in sorted(folder.iterdir())}
    assert len(list(folder.iterdir())) == 3
    assert sizes == {(200, 200, 3)}
    assert camera_jpeg(picture(0, 64), 0.01).startswith(b"\xff\xd8\xff")
    first = write_photo(tmp_path / "links" / "000000.png", 1)
    assert sorted(path.name for path in repeated([first], first.parent, 4).iterdir())[-1] == "000003.png"


def test_generated_faces_are_aligned_inputs(tmp_path: Path):
    folder = generated_faces(tiny_generator(), tmp_path / "faces", 2)
    pictures = [decode(path.read_bytes()) for path in sorted(folder.iterdir())]
    assert [each.shape for each in pictures] == [(1024, 1024, 3)] * 2
    assert (pictures[0] != pictures[1]).any()


# -- the ways of working


def test_the_naive_loop_makes_the_streams_pictures(tmp_path: Path):
    faces = crops(tmp_path / "in", 5)
    run_job(edit_job(faces, tmp_path / "stream", batch_size=1))
    seconds = naive_edit(
        FakeChain(),
        torch.device("cpu"),
        no_landmarks,
        sorted(faces.iterdir()),
        tmp_path / "naive",
        parse_edits(["smile=+2"]),
        partial(encode, format="png"),
    )
    assert len(seconds) == 5
    stream, naive = output_files(tmp_path / "stream"), output_files(tmp_path / "naive")
    assert naive.keys() == stream.keys()
    pictures = [name for name in stream if name.endswith(".png")]
    assert len(pictures) == 10
    assert all(naive[name] == stream[name] for name in pictures)


def test_plain_png_holds_the_same_pixels():
    image = picture(3)
    assert (decode(plain_png(image)) == image).all()


def test_a_run_is_read_off_its_folder(tmp_path: Path):
    job = edit_job(crops(tmp_path / "in", 6), tmp_path / "out", batch_size=2)
    summary = run_job(job)
    figures = of_run(summary, job.spec, processes=1, warm=2)
    assert figures.photos == 4
    assert figures.rate > 0
    assert figures.whole > 0
    assert sum(figures.shares().values()) == pytest.approx(1.0)
    assert set(figures.stages) == {"decode", "align", "invert", "edit", "write"}
    record = read_manifest(job.spec.output)["p00"]
    assert figures.facts["latents bytes"] == (tmp_path / "out" / record.outputs["latents"]).stat().st_size
    assert figures.facts["record bytes"] == len(record.to_line())
    assert figures.facts["png"] > figures.facts["jpg"] > 0


def test_a_failed_run_gives_no_figures(tmp_path: Path):
    faces = crops(tmp_path / "in", 2)
    (faces / "p01.png").write_bytes(b"no picture")
    job = edit_job(faces, tmp_path / "out")
    with pytest.raises(ValueError, match="not-an-image"):
        of_run(run_job(job), job.spec, 1, 1)


def test_books_cost_something_for_each_photo(tmp_path: Path):
    figures = books(tmp_path, 40, usual_record("smile+2"))
    assert set(figures.facts) == set(throughput.BOOKS)
    assert all(value > 0 for value in figures.facts.values())
    line = len(replace(usual_record("smile+2"), key="00000/00000000").to_line())
    assert line < figures.facts["record_bytes"] < line + len(str(tmp_path)) + 60
    assert len(read_manifest(tmp_path)) == 40


def face_68(centre: float, scale: float) -> np.ndarray:
    """68 landmarks whose eyes and mouth are where a frontal face has them."""
    points = np.full((68, 2), centre)
    points[36:42] = centre + np.array([-0.2, -0.15]) * scale
    points[42:48] = centre + np.array([0.2, -0.15]) * scale
    points[48], points[54] = centre + np.array([-0.12, 0.2]) * scale, centre + np.array([0.12, 0.2]) * scale
    return points


@pytest.mark.parametrize("centre", [200.0, 60.0], ids=["inside", "over-the-border"])
def test_ffhqs_way_takes_the_same_square(centre: float):
    """Where the photo is; how the mirror beyond its border fades differs a little."""
    y, x = np.mgrid[0:400, 0:400]
    photo = np.stack([x / 400, y / 400, (x + y) / 800], -1) * 200 + 20 * np.sin(x / 15)[..., None]
    photo = np.clip(photo, 0, 255).astype(np.uint8)
    landmarks = face_68(centre, 200.0)
    theirs = np.array(ffhq_crop(Image.fromarray(photo), landmarks, size=64, sampled=256))
    square = ffhq_quad(landmarks)
    ours, other = crop_quad(photo, square, 64), crop_quad(photo, square + 5, 64)
    assert theirs.shape == ours.shape
    apart, elsewhere = (np.abs(each.astype(int) - ours)[32:, 32:].mean() for each in (theirs, other))
    assert apart < 1
    assert elsewhere > 2 * apart


# -- the command


def body() -> dict[str, object]:
    facts = {
        "png": 1e6,
        "jpg": 2.5e5,
        "webp": 1.6e5,
        "latents bytes": 37e3,
        "photo bytes": 4e6,
        "pictures": 3,
        "encode ms": 50,
    }
    figures = {
        "models": Figures(4, 10.0, peak_mb=900),
        "stream": Figures(4, 8.0, 5.0, stages={"invert": 40.0, "edit": 60.0, "write": 50.0}, facts=facts),
        "naive": Figures(4, 4.0),
        "align": Figures(4, 5.0, stages={"decode": 60.0, "align": 90.0, "write": 9.0}, facts=facts),
        "cpu:1": Figures(4, 1.0),
        "cpu:2": Figures(4, 1.5),
        "books": Figures(9, 9.0, facts=dict.fromkeys(throughput.BOOKS, 0.5)),
    }
    rates = throughput.rates_of(figures)
    assert rates is not None
    return {
        "machine": throughput.machine("cpu"),
        "settings": asdict(Settings("w", "f", "r", "e4e")),
        "figures": {name: asdict(each) for name, each in figures.items()},
        "ratios": throughput.ratios(figures),
        "rates": asdict(rates),
    }


def test_ratios_and_rates():
    found = body()
    assert found["ratios"] == {
        "stream / models": 0.8,
        "stream / naive": 2.0,
        "cpu:2 / cpu:1": 1.5,
        "stream: device busy": pytest.approx(0.8),
    }
    rates = found["rates"]
    assert isinstance(rates, dict)
    assert (rates["device"], rates["host_seconds"]) == (8.0, pytest.approx(0.3))
    assert throughput.rates_of({"stream": Figures(1, 1.0)}) is None


def test_an_earlier_measurement_gives_the_plan_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(body()))
    throughput.main(["--rates", str(earlier), "--device-rate", "100", "--plan-photos", "360000", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["device"] == 100
    assert found["plan"]["device_hours"] == pytest.approx(360_000 / (64 * 100) / 3600)
    throughput.main(["--rates", str(earlier)])
    text = capsys.readouterr().out
    assert "10,000,000 photos, 64 devices of 8 photos/s" in text
    assert "| stream / naive | 2 |" in text
    assert "breaks" in text


def test_tables_show_every_way():
    found = body()
    rows = figure_rows(found)
    assert any(row.startswith("| stream | 4 | 8 | 0.125 | 5 |") for row in rows)
    assert any(row == "| stream | edit | 60.0 | 40% |" for row in rows)
    assert plan_rows(found) == []


def test_units():
    assert [size(each) for each in (5, 5e3, 1.5e9, 2e13)] == ["5 B", "5 kB", "1.5 GB", "20 TB"]
    assert [span(each) for each in (1.5, 300, 9000, 864000)] == ["1.5 s", "5 min", "2.5 h", "10 days"]


def test_unknown_ways_are_named():
    options = throughput.parser().parse_args(["--cases", "stream,magic"])
    with pytest.raises(SystemExit, match="magic"):
        throughput.chosen_cases(options)
    options = throughput.parser().parse_args(["--processes", "1,2"])
    assert throughput.chosen_cases(options)[-3:] == ["cpu:1", "cpu:2", "books"]


def test_too_few_photos_are_refused_before_anything_runs(tmp_path: Path):
    options = throughput.parser().parse_args(["--device", "cpu", "--batch-size", "4", "--method", "feature"])
    settings = throughput.settings_of(options, tmp_path)
    assert settings.photos == 24
    throughput.check_counts(settings, ["stream", "cpu:4"])
    with pytest.raises(SystemExit, match="--photos 40"):
        throughput.check_counts(settings, ["stream", "cpu:8"])
    with pytest.raises(SystemExit, match="--photos 5"):
        throughput.check_counts(replace(settings, photos=4), ["stream"])


# Buys: that the measurement itself runs, with real weights and processes; the quick tests check its arithmetic.
@pytest.mark.slow
@pytest.mark.weights
def test_a_real_measurement_with_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--photos", "4", "--raw-photos", "2", "--megapixels", "1", "--records", "200", "--threads", "1"]
    ways = ["--method", "untrained", "--device", "cpu", "--cases", "models,stream,cpu:2,align,books", "--json"]
    throughput.main([*arguments, *ways, "--work", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert found["figures"].keys() == {"models", "stream", "cpu:2", "align", "books"}
    assert all(each["rate"] > 0 for each in found["figures"].values())
    assert found["plan"]["hours"] > 0
    assert not list(tmp_path.iterdir())
