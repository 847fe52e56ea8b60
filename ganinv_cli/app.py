"""The `ganinv` command: its sub-commands, its config file, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ganinv_cli import align, compare, edit, evaluate, invert, train, weights
from pipelines.errors import GanInvError, UsageError
from pipelines.registry import nearest

CONFIG = Path("ganinv.toml")
INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended
NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class Guarded(TyperGroup):
    """Turns every exception into one sentence on stderr and the exit code that the README lists."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        Raises:
            typer.Exit: with the exit code of whatever went wrong.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if hasattr(error, "format_message"):  # Typer's own usage errors: it prints them itself
                raise
            raise typer.Exit(explain(error)) from None


def explain(error: BaseException) -> int:
    """Say on stderr what `error` means for the user; returns the exit code."""
    from ganinv_cli import console

    console.close()
    if isinstance(error, KeyboardInterrupt):
        console.say("interrupted; what is finished is kept: run the same command again to go on")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more when it flushes at exit
        return BROKEN_PIPE
    if isinstance(error, GanInvError):
        console.say(f"error: {error}", "red")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE and error.filename:
        console.say(f"error: {error.filename}: {error.strerror}; free or open that place and run again", "red")
        return 3
    return _bug(error)


def _bug(error: BaseException) -> int:
    from ganinv_cli import console

    text = "".join(traceback.format_exception(error))
    if console.level.verbose:
        console.err.print(text, markup=False, highlight=False, soft_wrap=True)
        where = "the traceback above"
    else:
        with tempfile.NamedTemporaryFile(
            "w", prefix="ganinv-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(f"ganinv {_version()}, Python {sys.version}\n{text}")
        where = log.name
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    console.say(f"error: this is a bug in ganinv ({what}); please report it with {where}", "red")
    return 1


app = typer.Typer(
    cls=Guarded,
    name="ganinv",
    help="Invert and edit faces with StyleGAN: whole folders, on CPU or GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(align.align)
app.command()(invert.invert)
app.command()(edit.edit)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.add_typer(weights.app, name="weights")
app.add_typer(train.app, name="train")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ganinv")
    except PackageNotFoundError:  # run out of a checkout that is not installed
        text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])


def _print_version(asked: bool) -> None:
    if asked:
        print(f"ganinv {_version()}")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Options from a TOML file, a table per command [ganinv.toml].")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Reads the config file before any command parses its own options."""
    path = config if config is not None else CONFIG
    if config is not None or path.is_file():
        ctx.default_map = read_config(path, ctx.command)


def read_config(path: Path, command: Any) -> dict[str, Any]:
    """The defaults in a config file, under the parameter names of `command`'s sub-commands.

    Raises:
        UsageError: the file cannot be read, is no TOML, or names a command or an option that there is not.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
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
    found = {}
    for name, value in table.items():
        each = flags.get(_key(name))
        if each is None:
            known = ", ".join(nearest(name, [flag for flag in flags if len(flag) > 1])[:5])
            raise UsageError(f"{path}: [{command.name}] has no option '{name}'; nearest: {known}")
        repeated = each.multiple if hasattr(each, "multiple") else False
        found[str(each.name)] = [value] if repeated and not isinstance(value, list) else value
    return found


def _key(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").lower()


def main() -> None:
    """The console script. Output that the terminal's encoding cannot show is escaped instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
