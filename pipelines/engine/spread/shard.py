"""Devices by their names, and the work divided among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from pipelines.engine.reading.reader import Task
from pipelines.engine.resume.ledger import Ledger
from pipelines.records.manifest import Record

FIRST_SHARE = 32  # photos of each worker's first share, where nobody knows how many there will be


@dataclass(frozen=True)
class Share:
    """One device's part of a run, as it travels to a worker.

    Attributes:
        number: which share, from 0.
        device: the device's name, as `resolve_device` reads it.
        tasks: a contiguous run of the sorted keys, `index` counted from 0.
        records: what earlier runs noted of these tasks' items.
    """

    number: int
    device: str
    tasks: tuple[Task, ...]
    records: Mapping[str, Record]


def renumbered(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks with `index` counted from 0."""
    return tuple(replace(task, index=index) for index, task in enumerate(tasks))


def divide_among(tasks: Sequence[Task], ledger: Ledger, devices: Sequence[str], shares: int) -> list[Share]:
    """`shares` contiguous runs that differ by one photo at most, none empty, dealt to the devices in turn."""
    count = min(shares, len(tasks))
    made = []
    for number in range(count):
        part = renumbered(tasks[len(tasks) * number // count : len(tasks) * (number + 1) // count])
        records = ledger.part(task.photo for task in part)
        made.append(Share(number, devices[number % len(devices)], part, records))
    return made


def shares_of(
    tasks: Iterable[Task], ledger: Ledger, devices: Sequence[str], workers: int, most: int
) -> Iterator[Share]:
    """Shares of tasks that are found as they are asked for, dealt to the devices in turn.

    The first are small, so that every worker soon has one and none stands idle over a short rest; each round is twice
    the one before. Sizes do not depend on time: the same tasks make the same shares.

    Args:
        tasks: in order; no more of them are taken than the next share needs.
        ledger: what is known of them.
        devices: their names.
        workers: shares of a round.
        most: photos of one share.
    """
    tasks = iter(tasks)
    for number in count():
        size = min(most, FIRST_SHARE << min(number // workers, 20))
        part = renumbered(list(islice(tasks, size)))
        if not part:
            return
        yield Share(number, devices[number % len(devices)], part, ledger.part(task.photo for task in part))
