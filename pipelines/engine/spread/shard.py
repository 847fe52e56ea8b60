"""The work of a run divided among its workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, islice, pairwise

from pipelines.engine.input.groups import is_last
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.types import Task
from pipelines.records.manifest import Record

FIRST_SHARD = 32  # photos of each worker's first shard, where nobody knows how many there will be


@dataclass(frozen=True)
class Shard:
    """One worker's part of a run, as it travels.

    Attributes:
        number: which shard, from 0.
        device: the device's name, as `resolve_device` reads it.
        tasks: a contiguous run of the sorted keys, `index` counted from 0.
        records: what earlier runs noted of these tasks' items.
    """

    number: int
    device: str
    tasks: tuple[Task, ...]
    records: Mapping[str, Record]

    @cached_property
    def photos(self) -> frozenset[str]:
        """Their keys."""
        return frozenset(task.photo.key for task in self.tasks)


def renumbered(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks with `index` counted from 0."""
    return tuple(replace(task, index=index) for index, task in enumerate(tasks))


def divide_among(tasks: Sequence[Task], ledger: Ledger, devices: Sequence[str], shards: int) -> list[Shard]:
    """`shards` contiguous runs that differ by one photo at most, none empty, dealt to the devices in turn. The crops of one
    photo (`Photo.group`) are one photo."""
    made = min(shards, len(tasks))
    bounds = [_between(tasks, len(tasks) * number // made) for number in range(made + 1)] if made else []
    parts = [tasks[start:end] for start, end in pairwise(bounds)]
    return [_shard(number, part, ledger, devices) for number, part in enumerate(filter(None, parts))]


def shards_of(
    tasks: Iterable[Task], ledger: Ledger, devices: Sequence[str], workers: int, most: int
) -> Iterator[Shard]:
    """Shards of tasks that are found as they are asked for, dealt to the devices in turn.

    The first are small, so that every worker soon has one and none stands idle over a short rest; each round is twice
    the one before. Sizes do not depend on time: the same tasks make the same shards.

    Args:
        tasks: in order; no more of them are taken than the next shard needs.
        ledger: what is known of them.
        devices: their names.
        workers: shards of a round.
        most: photos of one shard.
    """
    tasks = iter(tasks)
    for number in count():
        part = list(islice(tasks, min(most, FIRST_SHARD << min(number // workers, 20))))
        while part and not is_last(part[-1].photo) and (more := next(tasks, None)) is not None:
            part.append(more)
        if not part:
            return
        yield _shard(number, part, ledger, devices)


def _between(tasks: Sequence[Task], place: int) -> int:
    """The first place from there on that does not part the crops of one photo."""
    while place < len(tasks) and tasks[place].photo.follows:
        place += 1
    return place


def _shard(number: int, tasks: Sequence[Task], ledger: Ledger, devices: Sequence[str]) -> Shard:
    records = ledger.part(task.photo for task in tasks)
    return Shard(number, devices[number % len(devices)], renumbered(tasks), records)
