"""JSON that anybody may have written, through every reader of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipelines.errors import PhotoError, UsageError, WeightsError
from pipelines.evaluation.compare_page import _is_ours
from pipelines.evaluation.run_latents import read_run
from pipelines.evaluation.written import find_metrics
from pipelines.files import parse_json
from pipelines.records.latents import load_inversion
from pipelines.weights.cache import Cache
from pipelines.weights.catalogue import load_catalogue
from pipelines.weights.checkpoints.detect import detect
from pipelines.weights.style_centres import load_centre

ODD = {
    "brackets": "[" * 100_000,
    "objects": '{"a":' * 50_000,
    "long number": "9" * 100_000,
    "beyond 64 bits": '{"size": %s}' % ("9" * 400),
    "beyond a float": '{"size": 1e999, "mtime_ns": -1e999}',
    "another kind": "[1, 2]",
    "nothing": "",
    "half a character": '{"a": "\\ud800',
}
REFUSED = set(ODD) - {"another kind"}


@pytest.mark.parametrize("name", sorted(ODD))
def test_only_value_errors_come_out(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(ValueError, match=r"deep|beyond|digits|Expecting|Unterminated|escape"):
            parse_json(ODD[name])
    else:
        assert parse_json(ODD[name]) == [1, 2]


def test_what_we_write_is_read() -> None:
    assert parse_json(b'{"a": [1.5e300, 18446744073709551615, null, NaN]}')["a"][:3] == [1.5e300, 2**64 - 1, None]


def _header(path: Path, text: str) -> Path:
    save_file({"x": torch.zeros(1)}, path, metadata={"ganinv": text})
    return path


def _lock(folder: Path, text: str) -> Any:
    (folder / "lock.json").write_text(text)
    return Cache(folder).expected(load_catalogue()["e4e"])


def _stamp(folder: Path, text: str) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "x.json").write_text(text)
    assert Cache(folder).stamped("x", folder / "state" / "x.json") == ""


def _run(folder: Path, text: str) -> Any:
    (folder / "run.json").write_text(text)
    return read_run(folder)


def _metrics(folder: Path, text: str) -> Any:
    (folder / "metrics.json").write_text(text)
    return find_metrics(folder)


def _comparison(folder: Path, text: str) -> None:
    (folder / "x.json").write_text(text)
    assert not _is_ours(folder / "x.json")


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (_run, UsageError),
        (_metrics, UsageError),
        (_comparison, None),
        (_stamp, None),
        (_lock, WeightsError),
        (lambda folder, text: detect(_header(folder / "x.safetensors", text)), WeightsError),
        (lambda folder, text: load_centre(_header(folder / "x.safetensors", text), None), WeightsError),  # type: ignore[arg-type]
        (lambda folder, text: load_inversion(_header(folder / "x.safetensors", text).read_bytes()), PhotoError),
    ],
    ids=["run.json", "metrics.json", "comparison", "stamp", "lock", "checkpoint", "centre", "latents"],
)
def test_every_reader_says_it_in_its_own_way(
    tmp_path: Path, read: Callable[[Path, str], Any], error: type[Exception] | None, text: str
) -> None:
    if error is None:
        read(tmp_path, text)
        return
    with pytest.raises(error):
        read(tmp_path, text)
