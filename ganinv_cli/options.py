"""From the specs' fields to the command line's options, and back to a spec: an option is described once, at its field.

A command takes a spec as one parameter (and bundles of what only a command line has, such as how much is said); `command`
spreads their fields over the signature that Typer reads, and hands the finished spec over. Nothing heavy is imported here:
the command line must answer `--version` and `--help` at once.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipelines.errors import UsageError
from pipelines.evaluation.specs import METRICS
from pipelines.options import Option
from pipelines.run_specs import Spec
from pipelines.specs import DETECTORS

if TYPE_CHECKING:
    from pipelines.weights.store import WeightStore

SpecT = TypeVar("SpecT", bound=Spec)
DIRECTIONS_CARD = "directions-mobile-ffhq.json"


def command(run: Callable[..., None]) -> Callable[..., None]:
    """Let a command take specs and bundles (frozen dataclasses): Typer sees their fields as so many options."""
    takes = {name: each.annotation for name, each in inspect.signature(run, eval_str=True).parameters.items()}
    spread = [parameter for kind in takes.values() for parameter in _parameters(kind)]

    @functools.wraps(run)
    def spread_out(**given: Any) -> None:
        run(**{name: _made(kind, given) for name, kind in takes.items()})

    spread_out.__signature__ = inspect.Signature(sorted(spread, key=_is_option))  # type: ignore[attr-defined]
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return spread_out


def _made(kind: type[Any], given: dict[str, Any]) -> Any:
    if is_dataclass(kind):
        return kind(**{each.name: given.pop(each.name) for each in fields(kind)})
    own = {name: given.pop(name) for name, _, _ in _options(kind)}
    return make_spec(kind, {name: value for name, value in own.items() if value not in (None, [])})


def _is_option(parameter: inspect.Parameter) -> bool:
    return not any(isinstance(each, typer.models.ArgumentInfo) for each in parameter.annotation.__metadata__)


def _parameters(kind: type[Any]) -> Iterator[inspect.Parameter]:
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            yield _parameter(each.name, hints[each.name], each.default)
        return
    for name, field, option in _options(kind):
        default = None if field.is_required() or field.default_factory else field.default
        typed, repeated = _typed(field.annotation)
        if option.panel:
            info: Any = typer.Option(*_flags(name, field, option), help=option.help, **_look(option, typed))
        else:
            info = typer.Argument(help=option.help, **_look(option, typed))
        if repeated:
            default = [str(each) for each in default or ()]
        elif isinstance(default, Path):
            default = str(default)
        needed = field.is_required()
        yield _parameter(
            name, Annotated[typed if needed or repeated else typed | None, info], ... if needed else default
        )


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _options(kind: type[Spec]) -> Iterator[tuple[str, FieldInfo, Option]]:
    for name, field in kind.model_fields.items():
        for each in field.metadata:
            if isinstance(each, Option):
                yield name, field, each


def _typed(annotation: Any) -> tuple[Any, bool]:
    """What Typer reads for a field of this type, and whether it may be given several times. Paths stay text: "" and "./-"
    would lose their meaning."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _typed(next(each for each in inner if each is not type(None)))
    if origin is tuple and inner[-1] is not Ellipsis:  # a shard
        return str, False
    if origin in (tuple, Mapping):
        return list[str], True
    if origin is Literal or annotation in (int, float, bool):
        return annotation, False
    return str, False


def _flags(name: str, field: FieldInfo, option: Option) -> tuple[str, ...]:
    flag = "--" + name.replace("_", "-")
    if option.flags or field.annotation is not bool:
        return option.flags or (flag,)
    return (f"{flag}/--no-{name.replace('_', '-')}",) if field.default else (flag,)


def _look(option: Option, typed: Any) -> dict[str, Any]:
    completions = {"attributes": complete_attributes, "methods": complete_methods}
    completions |= {"detectors": complete_detectors, "metrics": complete_metrics}
    look: dict[str, Any] = {"rich_help_panel": option.panel} if option.panel else {}
    look |= {"metavar": option.metavar} if option.metavar else {}
    return look | ({"autocompletion": completions[option.complete]} if option.complete else {})


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


def complete_metrics(incomplete: str) -> list[str]:
    """Shell completion of `--metrics`, a list with commas."""
    head, comma, last = incomplete.rpartition(",")
    taken = head.split(",")
    return [f"{head}{comma}{name}" for name in METRICS if name.startswith(last) and name not in taken]


def _shown(*flags: str, text: str) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel="Output")


@dataclass(frozen=True)
class OutputOptions:
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
class WeightOptions:
    """Where weights live."""

    offline: Annotated[
        bool,
        typer.Option("--offline", help="Never use the network (also GANINV_OFFLINE=1).", rich_help_panel="Weights"),
    ] = False
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of weights. Default: GANINV_HOME, else the user's cache folder.", rich_help_panel="Weights"
        ),
    ] = None

    def store(self) -> WeightStore:
        """The weights as these options choose them."""
        return make_store(self.weights_dir, self.offline)


def make_spec(kind: type[SpecT], given: Mapping[str, Any]) -> SpecT:
    """A frozen spec from parsed options; raises UsageError for what the spec refuses."""
    try:
        return kind(**given)
    except ValidationError as error:
        raise UsageError(sentence(error, kind)) from None


def sentence(error: ValidationError, kind: type[Spec]) -> str:
    """pydantic's findings as one sentence that names the options."""
    shown = {
        name: _flags(name, field, option)[0] if option.panel else "INPUT" for name, field, option in _options(kind)
    }
    shown["input"] = "INPUT"
    found = []
    for each in error.errors(include_url=False):
        name = str(each["loc"][0]) if each["loc"] else ""
        head = f"{shown.get(name, '--' + name.replace('_', '-')).partition('/')[0]}: " if name else ""
        got = "" if each["type"] in ("value_error", "missing") else f" (got {each['input']!r})"
        found.append(f"{head}{each['msg'].removeprefix('Value error, ')}{got}")
    return "; ".join(found)


def make_store(weights_dir: Path | None = None, offline: bool = False) -> WeightStore:
    """The store of weights; with `ganinv`'s own environment variables read here, at the edge, and nowhere below."""
    from ganinv_cli import console
    from pipelines.weights.store import StoreConfig, WeightStore

    return WeightStore(StoreConfig.from_env(os.environ, weights_dir, offline), console.fetch_reporter())
