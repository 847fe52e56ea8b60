"""The options that several commands share, in bundles; each is written once.

A command takes a bundle as one parameter; `bundled` spreads its fields over the signature that Typer reads. Nothing
heavy is imported here: the command line must answer `--version` and `--help` at once.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from pipelines.weights.store import WeightStore

SpecT = TypeVar("SpecT", bound="BaseModel")
DETECTORS = ("dlib", "facexlib", "facexlib-resnet50")
DIRECTIONS_CARD = "directions-mobile-ffhq.json"


def bundled(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take option bundles (frozen dataclasses): Typer sees their fields as so many options."""
    spread: list[inspect.Parameter] = []
    bundles: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation) and isinstance(parameter.annotation, type):
            bundles[parameter.name] = parameter.annotation
            spread += _parameters(parameter.annotation)
        else:
            spread.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: kind(**{each.name: given.pop(each.name) for each in fields(kind)}) for name, kind in bundles.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return run


def _parameters(bundle: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default if each.default_factory is MISSING else each.default_factory(),
            annotation=hints[each.name],
        )
        for each in fields(bundle)
    ]


def _option(panel: str, *flags: str, text: str, **more: Any) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel=panel, **more)


def _run(*flags: str, text: str, **more: Any) -> Any:
    return _option("Run", *flags, text=text, **more)


def _shown(*flags: str, text: str, **more: Any) -> Any:
    return _option("Output", *flags, text=text, **more)


def complete_attributes(incomplete: str) -> list[str]:
    """Shell completion of `--attr`: the shipped attributes, read from their card (no tensor library is loaded)."""
    head, comma, last = incomplete.rpartition(",")
    card = resources.files("pipelines.assets").joinpath(DIRECTIONS_CARD)
    known = json.loads(card.read_text(encoding="utf-8"))["directions"] if card.is_file() else {}
    return [f"{head}{comma}{name}=" for name in known if name.startswith(last)]


def complete_methods(incomplete: str) -> list[str]:
    """Shell completion of `--method`."""
    from pipelines.stages.methods import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def complete_detectors(incomplete: str) -> list[str]:
    """Shell completion of `--detector`."""
    return [name for name in DETECTORS if name.startswith(incomplete)]


@dataclass(frozen=True)
class Machine:
    """Where and how wide to compute."""

    device: Annotated[str, _run(text="auto, cpu, cuda, cuda:N or mps; cuda:0,1 or cpu:2 for several.")] = "auto"
    batch_size: Annotated[int | None, _run(text="Faces per pass of the device. Default: the device's own.")] = None
    num_workers: Annotated[
        int | None, _run("--num-workers", "-j", text="Decoding processes a device. Default: by cores.")
    ] = None


@dataclass(frozen=True)
class Pace:
    """What of the input to do, and what to do again."""

    backend: Annotated[
        Literal["loky", "dask"], _run(text="loky: the devices of this machine; dask: a cluster's workers.")
    ] = "loky"
    scheduler: Annotated[str | None, _run(metavar="ADDRESS", text="The dask scheduler, as tcp://HOST:8786.")] = None
    shard: Annotated[str | None, _run(metavar="I/N", text="Only part I of N: one of several machines' shares.")] = None
    limit: Annotated[int | None, _run(text="At most so many photos.")] = None
    resume: Annotated[bool, _run("--resume/--no-resume", text="Go on where an earlier run into this output ended.")] = (
        True
    )
    retry_failed: Annotated[bool, _run("--retry-failed", text="Only what failed in an earlier run.")] = False
    overwrite: Annotated[bool, _run("--overwrite", text="Do everything again.")] = False
    timeout: Annotated[float, _run(text="Seconds for one photo's decoding and face search; then it fails.")] = 300.0
    max_errors: Annotated[int | None, _run(text="Stop after so many failed items.")] = None
    seed: Annotated[int, _run(text="Seed of everything random.")] = 0
    items_per_shard: Annotated[int, _run(text="Photos of one archive with --output NAME-{000..}.tar.")] = 1000


@dataclass(frozen=True)
class Voice:
    """How much is said, and in which form."""

    as_json: Annotated[bool, _shown("--json", text="Print one JSON object on stdout.")] = False
    quiet: Annotated[bool, _shown("--quiet", "-q", text="No progress and no warnings.")] = False
    verbose: Annotated[bool, _shown("--verbose", "-v", text="Every item; full tracebacks.")] = False

    def apply(self) -> None:
        """Set the console's level."""
        from ganinv_cli import console

        console.set_level(self.quiet, self.verbose)


@dataclass(frozen=True)
class DryRun:
    """Plan only."""

    dry_run: Annotated[
        bool, _shown("--dry-run", text="Print the plan, the weights and the counts; load no model, write nothing.")
    ] = False


@dataclass(frozen=True)
class Cache:
    """Where weights live."""

    offline: Annotated[bool, _option("Weights", "--offline", text="Never use the network (also GANINV_OFFLINE=1).")] = (
        False
    )
    weights_dir: Annotated[
        Path | None,
        _option("Weights", text="Folder of weights. Default: GANINV_HOME, else the user's cache folder."),
    ] = None

    def store(self) -> WeightStore:
        """The weights as these options choose them."""
        return make_store(self.weights_dir, self.offline)


def _crop(*flags: str, text: str, **more: Any) -> Any:
    return _option("Faces", *flags, text=text, **more)


@dataclass(frozen=True)
class Cropping:
    """How faces are found and cropped."""

    size: Annotated[int, _crop(text="Side of the crops in pixels.")] = 1024
    faces: Annotated[Literal["largest", "all"], _crop(text="Which faces of a photo.")] = "largest"
    detector: Annotated[str, _crop(text=f"One of {', '.join(DETECTORS)}.", autocompletion=complete_detectors)] = "dlib"
    min_score: Annotated[float | None, _crop(text="Drop faces below this detector confidence.")] = None
    min_size: Annotated[int, _crop(text="Drop faces smaller than so many photo pixels.")] = 0
    format: Annotated[Literal["png", "jpg", "webp"], _crop(text="Format of the pictures that are written.")] = "png"


def _method(*flags: str, text: str, **more: Any) -> Any:
    return _option("Method", *flags, text=text, **more)


@dataclass(frozen=True)
class Inverting:
    """How faces become codes."""

    generator: Annotated[str, _method(text="The generator: mobile-ffhq, converted weights, or a file.")] = "mobile-ffhq"
    method: Annotated[
        str, _method(text="A named chain of embedder, refiner and compensator.", autocompletion=complete_methods)
    ] = "feature"
    embed: Annotated[str | None, _method(text="Another embedder than the method's.")] = None
    encoder: Annotated[
        str | None, _method(metavar="NAME|FILE", text="A published encoder (e4e, pSp, LSAP, Cycle) as the embedder.")
    ] = None
    refine: Annotated[str | None, _method(text="Another refiner than the method's, or none.")] = None
    compensate: Annotated[str | None, _method(text="Another compensator than the method's, or none.")] = None
    compile: Annotated[bool, _method("--compile", text="Use torch.compile; pays on long runs, needs a compiler.")] = (
        False
    )
    align: Annotated[bool, _crop("--align", text="INPUT holds photos: find and crop the faces first.")] = False
    aligned: Annotated[bool, _crop("--aligned", text="INPUT holds aligned crops: do not check that.")] = False


def values(*bundles: Any) -> dict[str, Any]:
    """The fields of option bundles, those that nobody gave (None) left out: the spec's own default applies."""
    flat = {each.name: getattr(bundle, each.name) for bundle in bundles for each in fields(bundle)}
    return {name: value for name, value in flat.items() if value is not None}


def make_spec(kind: type[SpecT], given: Mapping[str, Any]) -> SpecT:
    """A frozen spec from parsed options.

    Raises:
        UsageError: a value that the spec refuses, or an option that this version's spec does not know.
    """
    from pydantic import ValidationError

    unknown = [name for name in given if name not in kind.model_fields]
    if unknown:
        raise UsageError(
            f"--{unknown[0].replace('_', '-')} is not supported by this command in this version: leave it out"
        )
    try:
        return kind(**given)
    except ValidationError as error:
        raise UsageError(sentence(error)) from None


def sentence(error: ValidationError) -> str:
    """pydantic's findings as one sentence that names the options."""
    found = []
    for each in error.errors(include_url=False):
        option = "--" + str(each["loc"][0]).replace("_", "-") + ": " if each["loc"] else ""
        message = each["msg"].removeprefix("Value error, ")
        got = "" if each["type"] == "value_error" else f" (got {each['input']!r})"
        found.append(f"{option}{message}{got}")
    return "; ".join(found)


def make_store(weights_dir: Path | None = None, offline: bool = False) -> WeightStore:
    """The store of weights; with `ganinv`'s own environment variables read here, at the edge, and nowhere below."""
    from ganinv_cli import console
    from pipelines.weights.store import StoreConfig, WeightStore

    return WeightStore(StoreConfig.from_env(os.environ, weights_dir, offline), console.fetch_reporter())
