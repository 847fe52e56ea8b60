"""`ganinv weights`: which weights there are, under which licence, and where they lie. Parses, calls, shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="List, fetch, check and add the weights that ganinv uses.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Entries, as `weights list` names them.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An entry, as `weights list` names it.")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", metavar="DIR", help="Weights folder (else GANINV_HOME).")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on stdout instead of a table.")]


def size_text(size: int) -> str:
    """A size in bytes for people: decimal units, as disks and indexes state them; "?" where unknown (0)."""
    if size <= 0:
        return "?"
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def licence_text(licence: str, noncommercial: bool) -> str:
    """The licence with the mark that `list` and the first fetch show."""
    return f"{licence} [non-commercial]" if noncommercial else licence


@app.command("list")
def list_(weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """All weights: role, size, licence, and where each would come from (cached, package, mirror, index, ...)."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    store = make_store(weights_dir, True)
    if as_json:
        console.print_json([_facts(store, entry.name) for entry in store.entries()])
        return
    rows = [
        [e.name, e.role, size_text(e.bytes), store.status(e.name), licence_text(e.licence, e.noncommercial)]
        for e in store.entries()
    ]
    console.table(["name", "role", "size", "status", "licence"], rows)


@app.command()
def show(name: Name, weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """Everything that is known about one entry."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    facts = _facts(make_store(weights_dir, True), name)
    if as_json:
        console.print_json(facts)
        return
    console.table(["field", "value"], [[key, _shown(value)] for key, value in facts.items()])


@app.command()
def path(name: Name, weights_dir: WeightsDir = None, offline: Offline = False) -> None:
    """Print the path of one verified file, fetched where it is not cached."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    console.line(str(make_store(weights_dir, offline).path(name)))


@app.command()
def pull(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries with a known source.")] = False,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Copy them there too: a mirror.")] = None,
    weights_dir: WeightsDir = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Fetch weights and whatever they require; with --to, fill a folder that GANINV_MIRROR can name elsewhere."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store
    from pipelines.errors import UsageError

    store = make_store(weights_dir, offline)
    if everything == bool(names):
        raise UsageError("name the weights to pull (see `ganinv weights list`), or give --all, not both")
    chosen = list(names or [])
    if everything:
        within = {entry.name: bool(entry.sources) or store.have(entry.name) for entry in store.entries()}
        chosen = [name for name, there in within.items() if there]
        left = ", ".join(name for name, there in within.items() if not there)
        console.note(f"left out, as no address of them is known (see `ganinv weights show NAME`): {left}")
    files = store.pull_to(to, chosen) if to else store.pull(chosen)
    if as_json:
        console.print_json({name: str(file) for name, file in files.items()})
    else:
        console.table(["name", "file"], [[name, str(file)] for name, file in files.items()])


@app.command()
def verify(names: Names = None, weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """Hash cached files in full; exit code 5 where one is not what the catalogue names."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store
    from pipelines.errors import WeightsError

    results = make_store(weights_dir, True).verify(names or None)
    if as_json:
        console.print_json({name: {"ok": not problem, "problem": problem} for name, problem in results.items()})
    else:
        console.table(["name", "result"], [[name, problem or "ok"] for name, problem in results.items()])
    bad = [name for name, problem in results.items() if problem]
    if bad:
        raise WeightsError(f"{len(bad)} of {len(results)} weights are not right: {', '.join(bad)}")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your own copy of the upstream file.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The entry that it is.")],
    weights_dir: WeightsDir = None,
) -> None:
    """Copy a file of your own into the weights folder, after its hash was checked (or, where none is known, noted)."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    store = make_store(weights_dir, True)
    console.line(f"{store.add(file, name)}  sha256 {store.sha256(name)}")


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An upstream file: .pt, .pth, .pkl, .safetensors, .dat.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What to call it [the catalogue's or the file's name].")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write there, not into the weights folder.")
    ] = None,
    weights_dir: WeightsDir = None,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of the field into weights that ganinv reads; no code in the file is ever run.

    Finds out from keys and shapes what the file is and makes an entry NAME-PART of each network in it. Without a known
    hash the file is trusted on first use: its hash is shown and kept, and another file is refused under that name.
    """
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    store = make_store(weights_dir, True)
    done = store.convert(file, name, output)
    facts = [
        {"name": e.name, "role": e.role, "arch": e.arch, "params": dict(e.params), "file": str(done.files[e.name])}
        for e in done.entries
    ]
    if as_json:
        about = {"name": done.name, "found": done.what, "notes": list(done.notes), "sha256": done.sha256}
        console.print_json(about | {"trusted_now": done.first, "entries": facts})
        return
    console.note(f"{file.name}: found {done.what}")
    for note in done.notes:
        console.note(f"{file.name}: {note}")
    trust = "trusted on first use; kept in lock.json of the weights folder" if done.first else "as expected"
    console.note(f"{file.name}: sha256 {done.sha256}{'' if output else f' ({trust})'}")
    if done.entries:
        console.note(f"licence: {licence_text(done.entries[0].licence, done.entries[0].noncommercial)}")
    console.table(["name", "role", "arch", "file"], [[f["name"], f["role"], f["arch"], f["file"]] for f in facts])


@app.command()
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Entries to forget.")],
    weights_dir: WeightsDir = None,
) -> None:
    """Delete cached files; the next use fetches them again."""
    from ganinv_cli import console
    from ganinv_cli.options import make_store

    store = make_store(weights_dir, True)
    for name in names:
        store.group(name)  # all known, before the first is deleted
    for name in names:
        console.line(f"{name}: {'removed' if store.remove(name) else 'was not cached'}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(store: Any, name: str) -> dict[str, Any]:
    entry = store.entry(name)
    facts: dict[str, Any] = entry.model_dump(mode="json")
    return facts | {"sha256": store.sha256(name), "status": store.status(name), "card": store.card(name)}
