"""Which outputs each face must have: those of the run, or with a plan those of its own edits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipelines.records.edit_plan import EditPlan
from pipelines.records.outputs import ANIMATION, Output, edit_of, planned_round
from pipelines.records.photos import Photo


class Wishes:
    """The outputs of a run, by face.

    Args:
        outputs: of the whole run.
        plan: None: every face gets all of them.
    """

    def __init__(self, outputs: Sequence[Output], plan: EditPlan | None = None) -> None:
        self._outputs = tuple(outputs)
        self._plan = plan
        self._made = {output.kind: output.fingerprint for output in outputs}
        self._by_edit: dict[str, list[Output]] = {}
        for output in outputs if plan is not None else ():
            self._by_edit.setdefault(edit_of(output.kind), []).append(output)
        self._rounds = [output for output in outputs if planned_round(output.kind) is not None]

    def of(self, photo: Photo, face: int) -> tuple[Output, ...]:
        """What one face must have; `face`: of those that were found in the photo's file."""
        if self._plan is None:
            return self._outputs
        own = self._plan.of(photo, face)
        edits = tuple(dict.fromkeys((*self._plan.always, *own)))
        found = [output for name in edits for output in self._by_edit[name]]
        plain = self._by_edit.get("", ()) if edits else ()
        found += [self._shown(output, edits) if output.kind == ANIMATION else output for output in plain]
        return (*found, *(self._planned(photo, own) if self._rounds else ()))

    def _planned(self, photo: Photo, own: Sequence[str]) -> list[Output]:
        """The whole photos in which each face has one of its own edits: the same for all faces of a photo."""
        assert self._plan is not None
        faces = self._plan.of_all(photo)
        made = []
        for number, output in enumerate(self._rounds[: max(len(edits) for _, edits in faces)]):
            drawn = [(face, edits[number], self._made[edits[number]]) for face, edits in faces if number < len(edits)]
            mark = hashlib.sha256(f"{output.fingerprint} {drawn}".encode()).hexdigest()
            made.append(replace(output, fingerprint=mark, shows=tuple(own[number : number + 1])))
        return made

    def _shown(self, output: Output, edits: tuple[str, ...]) -> Output:
        marks: Mapping[str, str] = {name: self._made[name] for name in edits}
        mark = hashlib.sha256(f"{output.fingerprint} {marks}".encode()).hexdigest()
        return replace(output, fingerprint=mark, shows=edits)
