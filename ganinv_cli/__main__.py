"""The console script: listens for signals before it loads anything that takes time."""

from __future__ import annotations

from ganinv_cli import process


def main() -> None:
    """`ganinv`."""
    process.open_streams()
    process.catch_signals()
    with process.loading():
        from ganinv_cli.app import app
    app()


if __name__ == "__main__":
    main()
