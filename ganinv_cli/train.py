"""`ganinv train`: the weights of our own that the package carries, and encoders for your generator and photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ganinv_cli.options import Cache, Voice, bundled

app = typer.Typer(help="Train encoders; refit the package's own small weights.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a second run goes on from it.")]


def _fit(name: str, cache: Cache, voice: Voice, output: Path, **numbers: int) -> None:
    """Run `pipelines.training.run.NAME` and print the file that it wrote."""
    from ganinv_cli import console

    voice.apply()
    with console.clean_stdout():
        from pipelines.training import run as verbs

        train: Callable[..., Path] = getattr(verbs, name)
        path = train(cache.store(), output, _report, **numbers)
    _say(voice, path)


def _report(figures: dict[str, Any]) -> None:
    from ganinv_cli import console

    console.note(", ".join(f"{name} {value}" for name, value in figures.items()))


@app.command()
@bundled
def head(
    cache: Cache,
    voice: Voice,
    output: Out = Path("runs/head"),
    pairs: Annotated[int, typer.Option(min=64, help="Generated faces to fit on.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of the 256 px head.")] = 6400,
    sketch_steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of the 128 px head.")] = 1400,
    seed: Seed = 0,
) -> None:
    """Fit the 256 and 128 px heads of mobile-ffhq, and the statistics of its codes."""
    _fit("train_head", cache, voice, output, pairs=pairs, steps=steps, sketch_steps=sketch_steps, seed=seed)


@app.command()
@bundled
def directions(
    cache: Cache,
    voice: Voice,
    output: Out = Path("runs/directions"),
    faces: Annotated[int, typer.Option(min=600, help="Generated faces to fit on.")] = 2400,
    bench: Annotated[int, typer.Option(min=8, help="Other generated faces that calibrate and measure.")] = 20,
    seed: Seed = 1,
) -> None:
    """Fit, calibrate and measure the direction of every attribute."""
    _fit("train_directions", cache, voice, output, faces=faces, bench_faces=bench, seed=seed)


@app.command()
@bundled
def encoder(
    cache: Cache,
    voice: Voice,
    data: Annotated[list[Path], typer.Option(help="Folder or .tar of aligned faces; may be given several times.")],
    recipe: Annotated[str, typer.Option(help="e4e, lsap or cycle.")] = "e4e",
    generator: Annotated[str, typer.Option(help="Generator to invert.")] = "mobile-ffhq",
    network: Annotated[str, typer.Option(help="compact, or e4e: the published IR-SE-50.")] = "compact",
    output: Out = Path("runs/encoder"),
    steps: Annotated[int, typer.Option(min=1, help="Steps; published schedules are stretched to them.")] = 4000,
    until: Annotated[int | None, typer.Option(min=1, help="Stop at this step; a later run goes on.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Faces per step.")] = 8,
    synthetic: Annotated[int, typer.Option(min=0, help="How many of them are generated, with known codes.")] = 2,
    teach: Annotated[int, typer.Option(min=0, help="First steps on generated faces' codes alone.")] = 0,
    code_weight: Annotated[float, typer.Option(min=0.0, help="Weight of known codes' error.")] = 0.1,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="TERM=X", help="Override a weight of the recipe; may be repeated.")
    ] = None,
    optimiser: Annotated[str, typer.Option(help="adamw, or ranger as published.")] = "adamw",
    lr: Annotated[float, typer.Option(min=0.0, help="Step size.")] = 1e-3,
    view: Annotated[
        str, typer.Option(help="What losses look at: sketch (128 px), preview (256 px) or full.")
    ] = "sketch",
    half: Annotated[bool, typer.Option("--half/--float", help="bfloat16 in the generator and the encoder.")] = True,
    init: Annotated[str, typer.Option(help="Start from another run's best.safetensors.")] = "",
    start: Annotated[float, typer.Option(min=0.0, help="Share of the published schedule that lies behind it.")] = 0.0,
    device: Annotated[
        str, typer.Option(help="auto or cpu; several GPUs: accelerate launch -m ganinv_cli.app ...")
    ] = "auto",
    every: Annotated[int, typer.Option(min=1, help="Steps between validations and checkpoints.")] = 200,
    seed: Seed = 0,
) -> None:
    """Train an encoder on aligned faces and on generated ones; a second call goes on from the last checkpoint."""
    from ganinv_cli import console

    voice.apply()
    with console.clean_stdout():
        from pipelines.training.encoder_settings import EncoderSettings, read_weights
        from pipelines.training.encoder_verb import train_encoder

        settings = EncoderSettings(
            recipe=recipe,
            network=network,
            generator=generator,
            steps=steps,
            batch=batch,
            synthetic=synthetic,
            teach=teach,
            code_weight=code_weight,
            weights=read_weights(weight or []),
            optimiser=optimiser,
            lr=lr,
            view=view,
            half=half,
            init=init,
            start=start,
            seed=seed,
        )
        path = train_encoder(cache.store(), output, _report, settings, data, device, every, until)
    _say(voice, path)


@app.command()
@bundled
def sdic(
    cache: Cache,
    voice: Voice,
    data: Annotated[list[Path], typer.Option(help="Folder or .tar of aligned faces; may be given several times.")],
    generator: Annotated[str, typer.Option(help="Generator to invert.")] = "mobile-ffhq",
    encoder: Annotated[str, typer.Option(help="Trained encoder whose codes are compensated.")] = "encoder",
    output: Out = Path("runs/sdic"),
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 4000,
    until: Annotated[int | None, typer.Option(min=1, help="Stop at this step; a later run goes on.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Faces per step.")] = 4,
    pairs_every: Annotated[int, typer.Option(min=0, help="Every so many steps: generated pairs with an edit.")] = 4,
    fine: Annotated[int, typer.Option(min=0, help="Last steps that look at 256 px instead of 128.")] = 0,
    corrected_every: Annotated[
        int, typer.Option(min=0, help="Of those, every so many correct the head by the full picture.")
    ] = 2,
    pixel: Annotated[float, typer.Option(min=0.0, help="Weight of the pixel term.")] = 1.0,
    perceptual: Annotated[float, typer.Option(min=0.0, help="Weight of the perceptual term.")] = 0.8,
    identity: Annotated[float, typer.Option(min=0.0, help="Weight of the identity term.")] = 0.1,
    compensation: Annotated[float, typer.Option(min=0.0, help="Weight of the pull towards no change.")] = 0.5,
    moves: Annotated[
        float, typer.Option(min=0.0, help="Weight of: edits move a face as far as the encoder's own do.")
    ] = 0.0,
    carry: Annotated[
        bool, typer.Option("--carry/--no-carry", help="Learn to correct how edits carry the residual.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Ablation: the plain difference in place of the map network.")
    ] = False,
    latent: Annotated[bool, typer.Option("--latent/--no-latent", help="Ablation: change the codes, or not.")] = True,
    feature: Annotated[bool, typer.Option("--feature/--no-feature", help="Ablation: the same for the feature.")] = True,
    lr: Annotated[float, typer.Option(min=0.0, help="Step size.")] = 1e-3,
    optimiser: Annotated[str, typer.Option(help="adamw, or ranger as published.")] = "adamw",
    half: Annotated[bool, typer.Option("--half/--float", help="bfloat16 in the generator and the network.")] = True,
    init: Annotated[str, typer.Option(help="Start from another run's best.safetensors.")] = "",
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    every: Annotated[int, typer.Option(min=1, help="Steps between validations and checkpoints.")] = 200,
    seed: Seed = 0,
) -> None:
    """Train a compensator (SDIC) for an encoder's codes; a second call goes on from the last checkpoint."""
    from ganinv_cli import console

    voice.apply()
    with console.clean_stdout():
        from pipelines.training.sdic_settings import SDICSettings
        from pipelines.training.sdic_verb import train_sdic

        settings = SDICSettings(
            generator=generator,
            encoder=encoder,
            steps=steps,
            batch=batch,
            pairs_every=pairs_every,
            fine=fine,
            corrected_every=corrected_every,
            pixel=pixel,
            perceptual=perceptual,
            identity=identity,
            compensation=compensation,
            moves=moves,
            carry=carry,
            discrepancy="raw" if raw else "network",
            latent=latent,
            feature=feature,
            lr=lr,
            optimiser=optimiser,
            half=half,
            init=init,
            seed=seed,
        )
        path = train_sdic(cache.store(), output, _report, settings, data, device, every, until)
    _say(voice, path)


def _say(voice: Voice, path: Path) -> None:
    from ganinv_cli import console

    if voice.as_json:
        console.print_json({"weights": str(path), "card": str(path.with_suffix(".json"))})
    else:
        console.table(["weights", "card"], [[path, path.with_suffix(".json")]])
