"""ganinv.toml: options from a file, a table per command, checked as strictly as what is typed."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipelines.errors import UsageError
from pipelines.registry import nearest

CONFIG = Path("ganinv.toml")
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# What an option's value is in TOML, by what its parameter is in Python; everything else is a text.
_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def read_config(path: Path, command: Any) -> dict[str, Any]:
    """The defaults in a config file, under the parameter names of `command`'s sub-commands. A byte-order mark is skipped.

    Raises:
        UsageError: the file cannot be read, is no TOML, names a command or an option that there is not, or gives an option
            a value of another kind.
    """
    try:
        data = path.read_bytes()
        if data.startswith(UTF16):
            raise UsageError(f"the config file {path} is UTF-16 text; save it as UTF-8")
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"the config file {path} cannot be read: {reason}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the config file {path} is not TOML: {error}") from None
    return _defaults(path, tables, command)


def _defaults(path: Path, table: Mapping[str, Any], command: Any) -> dict[str, Any]:
    below: Mapping[str, Any] | None = getattr(command, "commands", None)
    if below is None:
        return _options(path, table, command)
    found = {}
    for name, inner in table.items():
        if name not in below:
            raise UsageError(f"{path}: there is no command '{name}'; known: {', '.join(nearest(name, list(below)))}")
        if not isinstance(inner, Mapping):
            raise UsageError(f"{path}: write the options of {name} below a line [{name}]")
        found[name] = _defaults(path, inner, below[name])
    return found


def _options(path: Path, table: Mapping[str, Any], command: Any) -> dict[str, Any]:
    """Options by any of their long flags, `-` or `_` alike; one value will do where an option may be repeated."""
    flags = {_key(flag): each for each in command.params for flag in (*each.opts, each.name or "")}
    kinds = {name: _kind(each.annotation) for name, each in _signature(command).items()}
    found = {}
    for name, value in table.items():
        each = flags.get(_key(name))
        if each is None:
            known = ", ".join(nearest(name, [flag for flag in flags if len(flag) > 1])[:5])
            raise UsageError(f"{path}: [{command.name}] has no option '{name}'; nearest: {known}")
        repeated = getattr(each, "multiple", False) or each.nargs == -1
        many = value if repeated and isinstance(value, list) else [value]
        for one in many:
            _check(f"{path}: [{command.name}] --{name.lstrip('-')}", kinds[str(each.name)], one)
        found[str(each.name)] = many if repeated else value
    return found


def _key(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").lower()


def _signature(command: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(command.callback, eval_str=True).parameters


def _kind(annotation: Any) -> type:
    """bool, int, float or str: of an annotation's innermost type, whatever stands around it."""
    inner = [each for each in get_args(annotation) if each is not type(None)]
    if inner and get_origin(annotation) is not Literal:
        return _kind(inner[0])
    return annotation if annotation in _KINDS else str


def _check(where: str, kind: type, value: Any) -> None:
    fits = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):  # to Python, true is a number
        raise UsageError(f"{where} takes {_KINDS.get(kind, 'a text in quotes')}, not {value!r}")
