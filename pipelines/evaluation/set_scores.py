"""Features of all pictures of a run, for the metrics that compare sets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.metrics.faces import Faces
from pipelines.metrics.summary import Scores
from pipelines.metrics.tools import SetMetric

MOST = 20_000  # pictures of a set, by key: 100 MB of 1,280 features, and far more than the figures need


class SetScores:
    """Collects features batch by batch; an edit's sources are those of the pictures that it has, no others."""

    def __init__(self, metrics: Sequence[SetMetric]) -> None:
        self.metrics = metrics
        self.cut = False
        self._sides: dict[tuple[str, str], tuple[list[Tensor], list[Tensor]]] = {}

    def add(self, edit: str, source: Faces, result: Faces) -> None:
        """Note the features of an edit's next pictures and of their sources."""
        for metric in self.metrics:
            sides = self._sides.setdefault((metric.name, edit), ([], []))
            if sum(map(len, sides[0])) >= MOST:
                self.cut = True
                continue
            for kept, faces in zip(sides, (source, result), strict=True):
                kept.append(metric.features(faces).cpu())

    def write(self, scores: Scores) -> list[str]:
        """Put one figure an edit into `scores`; gives a sentence for each metric that has too few pictures."""
        notes: list[str] = []
        for metric in self.metrics:
            for (name, edit), (sources, results) in self._sides.items():
                if name == metric.name:
                    count = sum(map(len, results))
                    figure = metric.compare(torch.cat(sources), torch.cat(results))
                    scores.add_set(edit, name, figure.value, figure.spread, count)
                    if figure.value is None:
                        notes.append(
                            f"{name} is not given: it needs {figure.least} pictures or more, and here are {count}"
                        )
        if self.cut:
            notes.append(f"metrics of sets are of the first {MOST:,} pictures of each edit")
        return list(dict.fromkeys(notes))  # edits of equally many pictures say the same
