"""`ganinv train NAME`: the weights of our own that the package carries, and encoders for your generator and photos."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from ganinv_cli.options import OutputOptions, WeightOptions, command
from pipelines.training.base_specs import TrainSpec
from pipelines.training.specs import trainings

app = typer.Typer(help="Train encoders; refit the package's own small weights.", no_args_is_help=True)


def _command(name: str, kind: type[TrainSpec]) -> Callable[..., None]:
    """The command of one training; its help is the first paragraph of its spec."""

    def run(spec: TrainSpec, weights: WeightOptions, output: OutputOptions) -> None:
        from ganinv_cli import console, process

        output.apply()
        with console.clean_stdout():
            with process.loading():
                from pipelines.training.run import train

            path = train(spec, weights.store(), _report)
        card = path.with_suffix(".json")
        if output.as_json:
            console.print_json({"weights": str(path), "card": str(card)})
        else:
            console.table(["weights", "card"], [[path, card]])

    run.__name__, run.__doc__ = name, (inspect.getdoc(kind) or "").partition("\n\n")[0]
    run.__annotations__ = {"spec": kind, "weights": WeightOptions, "output": OutputOptions, "return": None}
    return command(run)


def _report(figures: dict[str, Any]) -> None:
    from ganinv_cli import console

    console.note(", ".join(f"{name} {value}" for name, value in figures.items()))


for _name in trainings:
    app.command(_name)(_command(_name, trainings.get(_name)))
