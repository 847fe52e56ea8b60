"""What every command and every run can be told: the classes below those of `pipelines.specs`.

A field with an `Option` is the whole description of that option: the command line is made from it, and its default stands
nowhere else. A wrong value raises pydantic's ValidationError (a ValueError), which names the field.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.options import Option

Format = Literal["png", "jpg", "webp"]
Shard = tuple[int, int]

_DEVICE = re.compile(r"auto|mps|cpu(:\d+)?|cuda(:\d+(,\d+)*)?")


INPUT = Option("Photos: folders, images, .txt lists of paths, archives, URLs, or - (paths on stdin).", metavar="INPUT")
OUTPUT = Option("Folder to write.", "Output", ("--output", "-o"))
BATCH = Option("Faces per pass of the device. Default: the device's own.", "Run")
PLUGINS = Option("A module or .py file with parts of your own. Repeat for more.", "Run", ("--plugin",), "MODULE")
WORKERS = Option("Decoding processes a device. Default: by cores.", "Run", ("--num-workers", "-j"))


def _shown(kind: type[BaseModel], name: str) -> str:
    """What a person calls a field: its flag, or its place."""
    found = (
        [each for each in kind.model_fields[name].metadata if isinstance(each, Option)]
        if name in kind.model_fields
        else []
    )
    if found and not found[0].panel:
        return (found[0].metavar or name).strip("[]")
    return found[0].flags[0] if found and found[0].flags else f"--{name.replace('_', '-')}"


class Spec(BaseModel):
    """What every command has.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; a run also ``cuda:0,1`` or ``cpu:2``: several, a
            process for each.
        plugins: modules or .py files that register parts of the user's own (`pipelines.plugins`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # help is to be quick

    device: Annotated[str, Option("auto, cpu, cuda, cuda:N or mps; cuda:0,1 or cpu:2 for several.", "Run")] = "auto"
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        """Whether there is such a device here is asked later: another machine may do the work."""
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"there is no device '{value}'; known: auto, cpu, cpu:N, cuda, cuda:N, cuda:N,M and mps")
        return value

    @model_validator(mode="before")
    @classmethod
    def _refuse_empty(cls, given: Any) -> Any:
        """An empty word is a variable that was not set, not the working folder."""
        for name, value in given.items() if isinstance(given, dict) else ():
            for each in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(each, str) and not each.strip() and name != "init":
                    raise ValueError(f"{_shown(cls, name)} is empty: give a value, or leave it out")
        return given


class RunSpec(Spec):
    """What every run over photos has.

    Attributes:
        inputs: each a folder, an image, a ``.txt`` list of paths (relative to the list), a ``.tar``,
            ``NAME-{000..012}.tar``, a URL, or ``"-"`` (paths on stdin). Also given as `input`, one path or several.
        output: the run's folder, made when absent; ``NAME-{000..}.tar``: archives; a URL: a folder in a remote store.
        backend: what spreads the run over processes: ``loky`` on this machine, ``dask`` on a cluster.
        scheduler: address of the cluster's scheduler, for example ``tcp://10.0.0.1:8786``.
        batch_size: faces per pass of the device; None: the device's own default.
        num_workers: decoding processes of each device; 0: decode in the run's own process; None: by the number of cores.
        timeout: seconds for reading, decoding and searching one photo; a photo that takes longer fails. Needs decoding
            processes: with `num_workers` 0 there is nobody who could stop the decoder.
        follow_links: take links to folders outside the input as if they were folders in it.
        shard: this run's part, ``"I/N"``, I from 1: a contiguous run of the sorted keys.
        limit: at most so many photos, the first by key, before sharding.
        resume: go on from the output's manifest; False refuses an output that has one already.
        retry_failed: do only what failed in an earlier run.
        overwrite: do everything again, codes on disk included.
        max_errors: stop after so many failed items; None: never.
        seed: of everything random.
        items_per_shard: photos of one archive, where `output` is ``NAME-{000..}.tar``.
    """

    inputs: Annotated[tuple[Path, ...], INPUT] = Field(validation_alias=AliasChoices("inputs", "input"), min_length=1)
    output: Annotated[Path, OUTPUT]
    batch_size: Annotated[int | None, BATCH] = Field(default=None, ge=1, le=4096)
    num_workers: Annotated[int | None, WORKERS] = Field(default=None, ge=0, le=256)
    backend: Annotated[
        Literal["loky", "dask"], Option("loky: the devices of this machine; dask: a cluster's workers.", "Run")
    ] = "loky"
    scheduler: Annotated[str | None, Option("The dask scheduler, as tcp://HOST:8786.", "Run", metavar="ADDRESS")] = None
    follow_links: Annotated[bool, Option("Also enter folders outside INPUT that links in it lead to.", "Run")] = False
    shard: Annotated[
        Shard | None, Option("Only part I of N: one of several machines' shares.", "Run", metavar="I/N")
    ] = None
    limit: Annotated[int | None, Option("At most so many photos.", "Run")] = Field(default=None, ge=1)
    resume: Annotated[bool, Option("Go on where an earlier run into this output ended.", "Run")] = True
    retry_failed: Annotated[bool, Option("Only what failed in an earlier run.", "Run")] = False
    overwrite: Annotated[bool, Option("Do everything again.", "Run")] = False
    timeout: Annotated[float, Option("Seconds for one photo's decoding and face search; then it fails.", "Run")] = (
        Field(default=300.0, gt=0, allow_inf_nan=False)
    )
    max_errors: Annotated[int | None, Option("Stop after so many failed items.", "Run")] = Field(default=None, ge=1)
    seed: Annotated[int, Option("Seed of everything random.", "Run")] = Field(default=0, ge=0, lt=2**63)
    format: Annotated[Format, Option("Format of the pictures that are written.", "Output")] = "png"
    items_per_shard: Annotated[int, Option("Photos of one archive with --output NAME-{000..}.tar.", "Output")] = Field(
        default=1000, ge=1
    )

    @property
    def input(self) -> Path:
        """The first of the inputs."""
        return self.inputs[0]

    @property
    def part(self) -> str:
        """What a shard's own files are called by, ``I-of-N``; "" of a whole run."""
        return f"{self.shard[0]}-of-{self.shard[1]}" if self.shard else ""

    @field_validator("inputs", mode="before")
    @classmethod
    def _read_inputs(cls, value: Any) -> Any:
        paths = (value,) if isinstance(value, (str, Path)) else value
        return tuple(Path.cwd() / "-" if path == "./-" else path for path in paths)  # Path would make it stdin's name

    @field_validator("shard", mode="before")
    @classmethod
    def _read_shard(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        index, slash, count = value.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise ValueError(f"'{value}' is not of the form I/N, for example 2/8")
        return int(index), int(count)

    @field_validator("shard")
    @classmethod
    def _check_shard(cls, value: Shard | None) -> Shard | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError(f"{value[0]}/{value[1]}: the first number must lie between 1 and the second")
        return value

    @model_validator(mode="after")
    def _check_modes(self) -> RunSpec:
        if self.overwrite and self.retry_failed:
            raise ValueError("overwrite does everything again, retry_failed only the failed items: choose one")
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError("backend dask needs a scheduler's address, and only dask does: give both or neither")
        return self
