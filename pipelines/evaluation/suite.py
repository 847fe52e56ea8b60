"""`evaluate --suite`: what a method is judged by, in three parts (inversion, edit, distribution), with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from pipelines.evaluation.compare import RESAMPLES, SURE, bootstrap
from pipelines.metrics.registry import metrics as known
from pipelines.metrics.round_trip import ROUND_TRIP
from pipelines.metrics.sets import FrechetDistance, KernelDistance, have_extra
from pipelines.metrics.summary import Scores
from pipelines.records.outputs import INVERSION

SEED = 0
NEARNESS = ("mse", "psnr", "ssim", "ms-ssim", "lpips")
PERSON = ("id", "id-dlib", "same-person")
LOOK = ("detail", "sharpness", "skin-tone")
CODES = ("nscd",)
SETS = (KernelDistance.name, FrechetDistance.name)
PARTS: Mapping[str, Sequence[str]] = {
    INVERSION: (*NEARNESS, *PERSON, *LOOK),
    "edit": ("moved", "passengers", *PERSON, "mse-outside", *LOOK, "ghost", *ROUND_TRIP),
    "distribution": (*CODES, *SETS),
}


def suite_metrics(codes: bool, round_trip: bool) -> tuple[list[str], list[str]]:
    """(names of the suite's metrics, sentences on those that are left out).

    Args:
        codes: the run stored codes.
        round_trip: its edits can be, and are to be, edited back.
    """
    missing = [*(() if codes else CODES), *(() if have_extra() else SETS), *(() if round_trip else ROUND_TRIP)]
    names = dict.fromkeys(name for part in PARTS.values() for name in part if name not in missing)
    notes = ["nscd is left out: there are no codes of a run"] if not codes else []
    if not have_extra():
        notes.append(f"{' and '.join(SETS)} are left out: they need `pip install 'ganinv[fid]'`")
    return [*names], notes


def picture_formats(places: Iterable[str]) -> list[str]:
    """The suffixes of pictures, each once: distances between sets move with JPEG's own noise."""
    return sorted({PurePath(place).suffix.lower() for place in places})


def suite_table(scores: Scores, names: Mapping[str, str], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Every figure of the suite, for metrics.json.

    Args:
        names: metric as the suite calls it -> the one that was measured.
        resamples: of the pictures, for the intervals.

    Returns:
        resamples, seed, sure (share of the resamples' means that an interval holds), and ``lines``: part, edit, metric, mean,
        low, high (None where nothing was measured, or there is nothing to resample), n, better. A metric of sets has the
        deviation over its subsets as `spread`, no interval, and the mean None where there are too few pictures.
    """
    lines = [line for part in PARTS for line in _lines(part, scores, names, resamples)]
    return {"resamples": resamples, "seed": SEED, "sure": SURE, "lines": lines}


def _lines(part: str, scores: Scores, names: Mapping[str, str], resamples: int) -> Iterator[dict[str, Any]]:
    for edit in scores.edits():
        if (part == INVERSION) != (edit == INVERSION) and part != "distribution":
            continue
        measured = scores.metrics(edit)
        for metric in dict.fromkeys(names[name] for name in PARTS[part] if name in names):
            if metric in measured:
                yield {"part": part, "edit": edit, "metric": metric, **_figure(scores, edit, metric, resamples)}


def _figure(scores: Scores, edit: str, metric: str, resamples: int) -> dict[str, Any]:
    if known.get(metric).kind == "set":
        figures = scores.figures(edit, metric)
        return {"low": None, "high": None, **{k: figures[k] for k in ("mean", "n", "better", "spread")}}
    values = scores.valid(edit, metric)
    figure: dict[str, Any] = {
        "mean": None,
        "low": None,
        "high": None,
        "n": len(values),
        "better": scores.better(metric),
    }
    if values:
        interval = bootstrap(np.array(values)[:, None], resamples, SEED)[0]
        figure |= {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return figure
