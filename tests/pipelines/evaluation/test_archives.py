"""Evaluating what was packed into tar archives: the same pictures as from a folder, read where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.destination import run_to_destination
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.evaluation.loading import load_row
from pipelines.evaluation.pairing import pair_run, run_folder
from pipelines.specs import EditSpec
from tests.factories import edit_job, write_photos


def packed(tmp_path: Path, name: str) -> Path:
    spec = EditSpec(input=write_photos(tmp_path / "raw", 5), output=tmp_path / name, items_per_shard=2)
    run_to_destination(spec, lambda inner: edit_job(inner.input, inner.output, items_per_shard=2))
    return tmp_path / name


@pytest.mark.parametrize("name", ["out-{000..}.tar", "out.tar"])
def test_archives_give_the_pictures_and_codes_of_a_folder(tmp_path: Path, name: str) -> None:
    output = packed(tmp_path, name)
    run_job(edit_job(tmp_path / "raw", tmp_path / "plain"))
    folder = run_folder(output)
    assert folder == tmp_path / "out.run"
    assert not list(folder.rglob("*.png")), "all pictures lie in the archives"
    rows, plain = pair_run(folder, None), pair_run(tmp_path / "plain", None)
    assert [row.key for row in rows.rows] == [row.key for row in plain.rows]
    assert len(rows.rows) == 5
    for row, other in zip(rows.rows, plain.rows, strict=True):
        one, two = load_row(row, codes=True), load_row(other, codes=True)
        assert not one.problems
        assert set(one.results) == {"inversion", "smile+2"} == set(two.results)
        for edit in one.results:
            assert np.array_equal(one.results[edit].image, two.results[edit].image)
        assert one.codes is not None
        assert two.codes is not None
        assert one.codes.latents.equal(two.codes.latents)
        assert one.source is not None


def test_one_archive_or_their_folder_stand_for_the_run(tmp_path: Path) -> None:
    packed(tmp_path, "out-{000..}.tar")
    assert run_folder(tmp_path / "out-001.tar") == run_folder(tmp_path) == tmp_path / "out.run"
    assert run_folder(tmp_path / "raw") == tmp_path / "raw"
    (tmp_path / "out.run").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="manifest of the run that wrote it"):
        run_folder(tmp_path / "out-001.tar")


def test_a_damaged_archive_is_that_faces_problem(tmp_path: Path) -> None:
    folder = run_folder(packed(tmp_path, "out-{000..}.tar"))
    (tmp_path / "out-000.tar").unlink()
    rows = pair_run(folder, None).rows
    lost = [row.key for row in rows if load_row(row).problems]
    assert lost == [row.key for row in rows[:2]]
