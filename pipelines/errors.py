"""Every way in which `ganinv` fails on purpose, each with the exit code that a shell sees.

Two kinds of trouble are kept apart. A *mistake of the user* (wrong option, missing weights) raises one of the
exceptions here before any model loads. A *bad photo* never raises past its own item: it becomes a
`pipelines.types.Failure` value that flows on to the manifest, and the run continues.
"""

from __future__ import annotations


class GanInvError(Exception):
    """One clear sentence for a person: what went wrong, with which file, and what to do about it."""

    exit_code = 1


class UsageError(GanInvError):
    """The command cannot be meant: an unknown name, a bad number, folders inside each other."""

    exit_code = 2


class NoInputError(GanInvError):
    """There was nothing to work on, or not one item succeeded."""

    exit_code = 4


class WeightsError(GanInvError):
    """Weights are missing, cannot be fetched, or are not the file that the catalogue names."""

    exit_code = 5


class RequirementError(GanInvError):
    """`evaluate --require` asked for a figure that the run did not reach."""

    exit_code = 6


class OutputError(GanInvError):
    """The output cannot be written (disk full, read-only folder): going on would lose work, so the run stops."""

    exit_code = 3


class ClusterError(GanInvError):
    """The cluster cannot be reached any more: the run stops early, and what is finished is kept."""

    exit_code = 3


class PhotoError(Exception):
    """One photo or face cannot be used. Caught by the engine, which records it as that item's `Failure`.

    Args:
        code: a short stable word for scripts, e.g. ``"no-face"`` or ``"not-an-image"``.
        message: one sentence for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
