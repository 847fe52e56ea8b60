"""From pairs of pictures to numbers: batches decoded ahead, scored on the device, kept as values and thumbnails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any, Literal

import torch

from pipelines.edits import read_name
from pipelines.engine.events import OnEvent, ProgressEvent
from pipelines.evaluation.loading import LoadedRow, load_row, read_ahead
from pipelines.evaluation.pairing import RUN, Pairing, Problem
from pipelines.evaluation.report import Detail, ReportRow, Shot, WorstRows
from pipelines.evaluation.set_scores import SetScores
from pipelines.metrics.faces import Faces, Locate, Picture, Trio
from pipelines.metrics.registry import SHORT
from pipelines.metrics.registry import metrics as known
from pipelines.metrics.summary import Scores, Values, finite
from pipelines.metrics.tools import CodeMetric, Metric, SetMetric
from pipelines.records.outputs import INVERSION, MASKS
from pipelines.types import Inversion

VERSION = 1


class Evaluation:
    """Scores rows, batch by batch.

    Args:
        metrics: loaded metrics.
        device: where pixels go.
        locate: finds landmarks in a picture.
        on_progress: told after every face.
        keep_rows: make thumbnails of the worst rows.
        code_metrics: loaded metrics of kind latent.
        offline: sources behind a URL are not read.
        set_metrics: loaded metrics of kind set.
        composed: the run's edits were composed into the photo.

    Attributes:
        scores: every value.
        problems: what could not be judged.
        worst: the worst rows' thumbnails.
        headline: the metric that rows are sorted by (identity where there is one), or "".
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        device: torch.device,
        locate: Locate,
        on_progress: OnEvent | None = None,
        keep_rows: bool = True,
        code_metrics: Sequence[CodeMetric] = (),
        offline: bool = False,
        set_metrics: Sequence[SetMetric] = (),
        composed: bool = False,
    ) -> None:
        self._names = [*(m.name for m in metrics), *(m.name for m in code_metrics), *(m.name for m in set_metrics)]
        entries = {name: known.get(name) for name in self._names}
        better = {name: entry.better for name, entry in entries.items()}
        self.scores = Scores(better, trim=[name for name, entry in entries.items() if entry.trim])
        self.problems: list[Problem] = []
        self.worst = WorstRows()
        self.headline = headline(self._names)
        self.goodness: dict[str, float] = {}
        self._metrics = metrics
        self._code_metrics = code_metrics
        self._sets = SetScores(set_metrics)
        self._composed = composed
        self._remarks: list[str] = []
        self._device = device
        self._locate = locate
        self._on_progress = on_progress
        self._keep_rows = keep_rows
        self._offline = offline
        self._faceless: dict[str, int] = {}
        self._failed = 0

    def run(self, pairing: Pairing, batch_size: int, num_workers: int) -> None:
        """Score all rows of `pairing`, decoding ahead in `num_workers` threads, a bounded number of rows at a time."""
        self.problems = list(pairing.problems)
        self._tell("start", len(pairing.rows))
        for problem in pairing.problems:
            if problem.what != RUN:
                self._tell("item", len(pairing.rows), problem.key, problem.reason)
        read = partial(load_row, codes=bool(self._code_metrics), masks=self._keep_rows, offline=self._offline)
        loaded = read_ahead(read, pairing.rows, num_workers, 2 * num_workers)
        while batch := list(islice(loaded, batch_size)):
            self.problems += [problem for row in batch for problem in row.problems]
            usable = [row for row in batch if row.source is not None]
            self._failed += len(batch) - len(usable)
            # Rows of one batch may lack different files; those with the same edits are scored together.
            for _, group in groupby(sorted(usable, key=_edits), key=_edits):
                self._score(list(group))
            for row in batch:
                self._tell("item", len(pairing.rows), row.row.key, "; ".join(p.reason for p in row.problems))
        self._remarks = self._sets.write(self.scores)
        self._tell("end", len(pairing.rows))

    def _score(self, rows: list[LoadedRow]) -> None:
        source = self._faces([row.source for row in rows if row.source], None)
        made = {edit: self._faces([row.results[edit] for row in rows], source) for edit in rows[0].results}
        for edit, result in made.items():
            trio = self._trio(edit, source, made, rows)
            columns = {name: v.tolist() for metric in self._metrics for name, v in metric.score(trio).items()}
            for index, row in enumerate(rows):
                self.scores.add(row.row.key, edit, {name: values[index] for name, values in columns.items()})
            self._sets.add(edit, source, result)
            self._faceless[edit] = self._faceless.get(edit, 0) + result.faceless
        self._score_codes(rows)
        for row in rows:
            self._keep(row)

    def _trio(self, edit: str, source: Faces, made: Mapping[str, Faces], rows: list[LoadedRow]) -> Trio:
        if edit == INVERSION:
            return Trio(source, source, made[edit])
        returned = [row.returned[edit] for row in rows if edit in row.returned]  # of all these rows, or of none
        back = self._faces(returned, source) if returned else None
        return Trio(source, made.get(INVERSION), made[edit], read_name(edit), self._composed, back)

    def _score_codes(self, rows: list[LoadedRow]) -> None:
        """Values of the stored codes; they count for the inversion, NaN where a face has none."""
        if not self._code_metrics:
            return
        for row in rows:
            missing = {metric.name: math.nan for metric in self._code_metrics if row.codes is None}
            self.scores.add(row.row.key, INVERSION, missing)
        there = [(row.row.key, row.codes) for row in rows if row.codes is not None]
        # Faces with weights of their own, and those without, cannot be one batch.
        for _, group in groupby(sorted(there, key=_own), key=_own):
            keys, codes = zip(*group, strict=True)
            faces = Inversion.cat(codes).to(self._device)
            for metric in self._code_metrics:
                for key, value in zip(keys, metric.score(faces).tolist(), strict=True):
                    self.scores.add(key, INVERSION, {metric.name: value})

    def _faces(self, pictures: Sequence[Picture], fallback: Faces | None) -> Faces:
        return Faces(pictures, self._device, self._locate, fallback)

    def _keep(self, row: LoadedRow) -> None:
        key = row.row.key
        values = self.scores.of(key)
        self.goodness[key] = goodness(values, self.headline, self.scores)
        if self._keep_rows:
            self.worst.offer(self.goodness[key], key, partial(_report_row, row, values))

    def _tell(self, kind: Literal["start", "item", "end"], total: int, item: str = "", message: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(ProgressEvent(kind, len(self.scores), self._failed, 0, total, item, message))

    def result(
        self, reference: bool, unused: int, notes: Sequence[str], requirements: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """The object of metrics.json: plain values, no NaN."""
        return {
            "v": VERSION,
            "count": len(self.scores),
            "reference": reference,
            "metrics": {name: _facts(name) for name in self._names},
            "edits": self.scores.table(),
            "worst": self.scores.worst_table(),
            "requirements": list(requirements),
            "failures": [{"key": p.key, "what": p.what, "reason": p.reason} for p in self.problems],
            "unused_references": unused,
            "missing": self.missing,
            "faceless": {edit: count for edit, count in self._faceless.items() if count},
            "notes": [*notes, *self._own_notes(unused), *self._remarks],
            "images": self.scores.images(),
        }

    @property
    def missing(self) -> int:
        """Pictures of the run that could not be judged; faces that failed in the run itself had none."""
        unseen = (problem for problem in self.problems if problem.what != RUN and not problem.what.startswith(MASKS))
        return len({(problem.key, problem.what) for problem in unseen})

    def _own_notes(self, unused: int) -> list[str]:
        """Sentences on what the figures do not tell."""
        failed = sum(problem.what == RUN for problem in self.problems)
        return [
            *([f"{unused} pictures of the reference have no result"] if unused else []),
            *(
                [f"{failed} {'face' if failed == 1 else 'faces'} failed in the run, without a picture"]
                if failed
                else []
            ),
            *(
                f"in {count} of the pictures '{edit}' no face was found: their identity counts as 0"
                for edit, count in self._faceless.items()
                if count
            ),
        ]


def headline(names: Iterable[str]) -> str:
    """The metric that faces are sorted by: identity, else the first with a better side; "" where there is none."""
    names = list(names)
    ranked = [name for name in (*SHORT["id"], *names) if name in names and known.get(name).better != "none"]
    return ranked[0] if ranked else ""


def goodness(by_edit: Mapping[str, Values], metric: str, scores: Scores) -> float:
    """A face's worst value of `metric` over its pictures, turned so that higher is better; NaN where none is valid."""
    if not metric:
        return 0.0
    sign = -1.0 if scores.better(metric) == "lower" else 1.0
    valid = [sign * values[metric] for values in by_edit.values() if math.isfinite(values.get(metric, math.nan))]
    return min(valid) if valid else math.nan


def _edits(row: LoadedRow) -> tuple[tuple[str, ...], ...]:
    return tuple(row.results), tuple(row.returned)


def _own(coded: tuple[str, Inversion]) -> list[str]:
    """Which generator weights a face has of its own."""
    return sorted(coded[1].deltas)


def _facts(name: str) -> dict[str, Any]:
    entry = known.get(name)
    return {"about": entry.about, "better": entry.better, "of_edits": entry.of_edits}


def _report_row(row: LoadedRow, by_edit: Mapping[str, Values]) -> ReportRow:
    """Thumbnails of a row with their values, the inversion first; of each edit also its mask and a detail."""
    assert row.source is not None
    shots, details = [Shot.of("source", row.source.image)], []
    for edit in sorted(row.results, key=lambda edit: edit != INVERSION):
        values = {name: finite(value) for name, value in by_edit[edit].items() if "." not in name}
        picture, mask = row.results[edit], row.masks.get(edit)
        shots.append(Shot.of(edit, picture.image, values))
        if mask is not None:
            shots.append(Shot.of(f"mask of {edit}", mask))
        if edit != INVERSION:
            details.append(Detail.of(edit, row.source.full, picture.full, mask))
    return ReportRow(row.row.key, shots, details)
