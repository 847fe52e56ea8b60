"""`ganinv align` and `ganinv invert`: from words to specs, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.engine.events import ProgressEvent


def test_the_line_of_the_readme(ganinv: Any, api: Any) -> None:
    result = ganinv("align", "./raw")
    assert result.exit_code == 0
    [spec] = api.specs
    assert (spec.input, spec.output, spec.size) == (Path("raw"), Path("faces"), 1024)


def test_every_option_reaches_the_spec(ganinv: Any, api: Any) -> None:
    words = "align raw -o out --size 512 --margin 0.25 --faces all --detector facexlib --min-score -1.5 --min-size 40"
    words += (
        " --format jpg --backend dask --scheduler tcp://head:8786 --timeout 9.5"
        " --device cpu --batch-size 3 -j 0 --shard 2/8 --limit 9 --no-resume --retry-failed --max-errors 4 --seed 5"
    )
    assert ganinv(*words.split()).exit_code == 0
    [spec] = api.specs
    expected = {
        "inputs": (Path("raw"),), "follow_links": False, "plugins": (), "output": Path("out"),
        "size": 512, "margin": 0.25, "faces": "all", "select": None, "detector": "facexlib",
        "min_score": -1.5, "min_size": 40, "format": "jpg", "device": "cpu", "batch_size": 3, "num_workers": 0,
        "shard": (2, 8), "limit": 9, "resume": False, "retry_failed": True, "overwrite": False, "max_errors": 4,
        "seed": 5, "timeout": 9.5, "backend": "dask", "scheduler": "tcp://head:8786", "items_per_shard": 1000,
    }  # fmt: skip
    assert spec.model_dump() == expected


def test_json_is_one_document_even_when_libraries_print(ganinv: Any, api: Any) -> None:
    api.summary = {"ok": 1, "failed": 1, "total": 2, "failures": {"no-face": 1}, "warnings": ["tilted"]}
    result = ganinv("align", "raw", "--json")
    assert result.exit_code == 3
    summary = json.loads(result.stdout)
    assert (summary["ok"], summary["failures"], summary["exit_code"]) == (1, {"no-face": 1}, 3)
    assert "a library that prints" in result.stderr


def test_dry_run_plans_and_does_not_run(ganinv: Any, api: Any) -> None:
    result = ganinv("align", "raw", "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["to_do"] == 3
    plain = ganinv("align", "raw", "--dry-run")
    assert "landmarks-68 (to fetch)" in plain.stdout


def test_failures_name_the_file_escaped(ganinv: Any, api: Any) -> None:
    api.events = [ProgressEvent("item", 0, 1, 0, 1, "evil\x1b[2J\nname", "no face was found; leave it out")]
    result = ganinv("align", "raw")
    assert "failed: evil\\x1b[2J\\nname: no face was found" in result.stderr
    assert "\x1b" not in result.stderr


def test_only_so_many_failures_are_printed(ganinv: Any, api: Any) -> None:
    api.events = [ProgressEvent("item", 0, n, 0, 99, f"a{n}", "broken") for n in range(1, 100)]
    shown = ganinv("align", "raw").stderr
    assert shown.count("failed: a") == 20
    assert shown.count("more items fail") == 1
    assert ganinv("align", "raw", "-v").stderr.count("failed: a") == 99


def test_nothing_to_do_is_said(ganinv: Any, api: Any) -> None:
    api.summary = {"skipped": 3, "total": 3}
    result = ganinv("align", "raw")
    assert result.exit_code == 0
    assert "nothing to do" in result.stderr
    assert "nothing to do" not in ganinv("align", "raw", "-q").stderr


def test_quiet_keeps_failures_and_drops_warnings(ganinv: Any, api: Any) -> None:
    api.events = [
        ProgressEvent("warning", 0, 0, 0, 1, message="three files are no images"),
        ProgressEvent("item", 0, 1, 0, 1, "a", "broken"),
    ]
    assert "three files" in ganinv("align", "raw").stderr
    quiet = ganinv("align", "raw", "-q").stderr
    assert "three files" not in quiet
    assert "failed: a: broken" in quiet


def test_an_option_that_the_spec_lacks_is_refused_not_ignored(ganinv: Any, api: Any) -> None:
    from pipelines.specs import AlignSpec

    result = ganinv("align", "raw", "--backend", "loky")
    if "backend" in AlignSpec.model_fields:
        assert api.specs[0].backend == "loky"
    else:
        assert result.exit_code == 2
        assert "--backend" in result.stderr


def test_invert_defaults_and_methods(ganinv: Any, api: Any) -> None:
    assert ganinv("invert").exit_code == 0
    words = ["invert", "raw", "--align", "--method", "optimize", "--refine", "none", "--generator", "g"]
    assert ganinv(*words).exit_code == 0
    first, second = api.specs
    assert (first.input, first.output, first.method) == (Path("faces"), Path("inversions"), "photo")
    assert (second.align, second.method, second.refine, second.generator) == (True, "optimize", "none", "g")


def test_a_device_that_align_does_not_use_is_said(ganinv: Any, api: Any) -> None:
    said = "align runs on the CPU: --device cuda changes nothing"
    assert said in ganinv("align", "raw", "--device", "cuda").stderr
    assert said not in ganinv("align", "raw", "--device", "cpu:2").stderr


def test_several_inputs_and_a_name_that_begins_with_a_dash(ganinv: Any, api: Any) -> None:
    assert ganinv("align", "a.jpg", "b.jpg", "-o", "x").exit_code == 0
    assert ganinv("align", "-o", "x", "--", "-dash.jpg").exit_code == 0
    assert [spec.inputs for spec in api.specs] == [(Path("a.jpg"), Path("b.jpg")), (Path("-dash.jpg"),)]
