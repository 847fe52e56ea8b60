"""`--name` in a run: files by the template, found again by the manifest, refused where they would not be safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.evaluation.pairing import pair_run
from pipelines.records.manifest import read_manifest
from tests.factories import FakeFaces, edit_job, output_files, write_photo, write_photos


def test_pictures_are_named_and_found(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 3), tmp_path / "out"
    options = {"fake": FakeFaces(count=2), "faces": "all", "paste": True, "masks": True}
    job = edit_job(raw, out, ["smile=+2", "age=-1"], name="{folder}/{stem}_{face}-{edit}", **options)
    assert run_job(job).ok == 6
    files = set(output_files(out))
    assert {
        "sub/p02_1-smile+2.png",
        "p00_0-age-1.png",
        "masks/p00_1-age-1.png",
        "photos/sub/p02_0-smile+2.png",
    } <= files
    assert {"inversion/p00.1.png", "latents/sub/p02.safetensors"} <= files
    assert read_manifest(out)["sub/p02.1"].outputs["smile+2"] == "sub/p02_1-smile+2.png"
    assert run_job(job).skipped == 6
    rows = {row.key: row for row in pair_run(out, None).rows}
    assert rows["sub/p02.1"].results["smile+2"].endswith("sub/p02_1-smile+2.png")
    assert rows["sub/p02.1"].masks["age-1"].endswith("masks/sub/p02_1-age-1.png")


def test_another_template_makes_pictures_anew_from_the_same_codes(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 1), tmp_path / "out"
    run_job(edit_job(raw, out, name="{key}-{edit}"))
    codes = (out / "latents/p00.safetensors").stat().st_mtime_ns
    assert run_job(edit_job(raw, out, name="{edit}-{key}")).ok == 1
    assert (out / "smile+2-p00.png").exists()
    assert (out / "latents/p00.safetensors").stat().st_mtime_ns == codes


def test_shared_stems_are_refused_before_the_run(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_photo(raw / "a/x.png", 1)
    write_photo(raw / "b/x.png", 2)
    with pytest.raises(UsageError, match="'a/x' and 'b/x' one name"):
        run_job(edit_job(raw, out, name="{stem}-{edit}"))
    assert not out.exists()
    assert run_job(edit_job(raw, out, name="{key}-{edit}")).ok == 2


def test_photo_in_a_folder_named_like_the_runs_own_fails_alone(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_photo(raw / "photos/x.png", 1)
    write_photo(raw / "x.png", 2)
    summary = run_job(edit_job(raw, out, name="{key}-{edit}", paste=True))
    assert (summary.ok, summary.failures) == (1, {"reserved-name": 1})
    assert run_job(edit_job(raw, tmp_path / "other", name="edited/{key}-{edit}", paste=True)).ok == 2


def test_files_in_the_way_are_not_written_over(tmp_path: Path) -> None:
    raw, out = write_photos(tmp_path / "raw", 1), tmp_path / "out"
    write_photo(out / "p00-smile+2.png", 5)
    with pytest.raises(UsageError, match="in the way"):
        run_job(edit_job(raw, out, name="{key}-{edit}"))
