"""What a command line needs to know about a field of a spec. Data alone: nothing in this package talks to people.

    size: Annotated[int, Option("Side of the crops in pixels.", "Faces")] = Field(default=1024, ge=16)

The field is the only description of its option: type, bounds and default are the field's, the words are here. A field
without an `Option` cannot be given on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """Metadata of one field.

    Attributes:
        help: one line.
        panel: the heading below which help shows it; "" for a positional argument.
        flags: as typed; none: ``--`` and the field's name, for a flag that is on also ``--no-`` and the name.
        metavar: what stands for the value; None: the type's own word.
        complete: what a shell completes it with: ``attributes``, ``methods``, ``detectors`` or ``metrics``.
    """

    help: str
    panel: str = ""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    complete: str | None = None
