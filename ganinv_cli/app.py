"""The `ganinv` command: its sub-commands, its config file, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
import tempfile
import tomllib
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ganinv_cli import align, compare, edit, evaluate, invert, process, train, weights
from ganinv_cli.config import CONFIG, read_config
from pipelines.errors import GanInvError, UsageError

INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended
NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
NOT_A_PATH = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL}


class Guarded(TyperGroup):
    """Turns every exception into one sentence on stderr and the exit code that the README lists."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        Raises:
            typer.Exit: with the exit code of whatever went wrong.
        """
        from ganinv_cli import console

        try:
            result = super().invoke(ctx)
            with console.printing():
                sys.stdout.flush()
            return result
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if hasattr(error, "format_message"):  # Typer's own usage errors: it prints them itself
                raise
            raise typer.Exit(explain(error)) from None

    def main(self, *args: Any, **options: Any) -> Any:
        """As Typer's; help and version that cannot be printed are no bug."""
        from ganinv_cli import console

        try:
            with console.printing():
                return super().main(*args, **options)
        except console.PrintError as error:
            raise SystemExit(explain(error)) from None
        except SystemExit as done:
            if done.code == 1 and isinstance(done.__context__, BrokenPipeError):  # a reader that left early
                process.mute_stdout()
                raise SystemExit(BROKEN_PIPE) from None
            raise


def explain(error: BaseException) -> int:
    """Say on stderr what `error` means for the user; returns the exit code."""
    from ganinv_cli import console

    console.close()
    if isinstance(error, KeyboardInterrupt):
        name = f" by {error.name}" if isinstance(error, process.Stopped) and error.exit_code != INTERRUPTED else ""
        console.say(f"interrupted{name}; what is finished is kept: run the same command again to go on")
        return error.exit_code if isinstance(error, process.Stopped) else INTERRUPTED
    if isinstance(error, BrokenPipeError):
        process.mute_stdout()
        return BROKEN_PIPE
    if isinstance(error, console.PrintError):
        process.mute_stdout()
    if isinstance(error, GanInvError):
        console.say(f"error: {error}", "red")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE and error.filename:
        console.say(f"error: {error.filename}: {error.strerror}; free or open that place and run again", "red")
        return 3
    if isinstance(error, OSError) and error.errno in NOT_A_PATH and error.filename:
        console.say(f"error: {str(error.filename)[:80]}: {error.strerror}; give another path", "red")
        return UsageError.exit_code
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


def main() -> None:
    """The command, where it is imported already."""
    process.open_streams()
    process.catch_signals()
    app()


if __name__ == "__main__":
    main()
