"""Rounds of `weights`: a folder of its own, a mirror with right and wrong files, a few commands, one of them in trouble."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from benchmarks._soak_process import disturbance, grow_disk, small_disk
from benchmarks._soak_round import Round
from pipelines.weights.store import WeightStore

NAMES = ("sample-obama", "sample-biden", "gender-dlib", "person-matte", "retinaface-mobile0.25", "mobile-ffhq-graph")


def weights_round(this: Round, store: WeightStore) -> None:
    """`store`: has the files of `NAMES`, which the mirror is made from."""
    chance = this.chance
    trouble = disturbance(chance, this.number)
    good = {name: store.path(name) for name in NAMES if store.have(name)}
    with small_disk(this.folder / "disk", trouble.room and trouble.room * 4) as mounted:
        home, mirror = this.folder / "disk" / "home", this.folder / "mirror"
        wrong = _mirror(mirror, good, chance)
        this.environ = {"GANINV_HOME": str(home), "GANINV_MIRROR": str(mirror)}
        commands = [_command(chance, good, mirror, this.folder) for _ in range(3)]
        this.label += f": weights {'; '.join(' '.join(each) for each in commands)}, {trouble.name}"
        this.count("rounds", "weights", trouble.name)
        this.undisturbed(["weights", "list"], {0})
        for words in commands:
            this.disturbed(["weights", *words], trouble)
            _check(this, home, good)
        if mounted:
            grow_disk(this.folder / "disk")
        if chance.random() < 0.5:
            _spoil(home, chance)
        for name in good:
            this.undisturbed(
                ["weights", "path", name],
                {5} if name in wrong and not (home / "files" / good[name].name).is_file() else {0},
            )
        this.undisturbed(["weights", "verify"], {0})
        _check(this, home, good)


def _mirror(mirror: Path, good: dict[str, Path], chance: random.Random) -> set[str]:
    """Most files right; one or two cut, longer, changed, a folder or not there. Gives the names of these."""
    mirror.mkdir()
    wrong = set(chance.sample(sorted(good), chance.randrange(0, 3)))
    for name, path in good.items():
        data, kind = path.read_bytes(), chance.randrange(5) if name in wrong else -1
        if kind == 0:
            data = data[: len(data) // 2]
        elif kind == 1:
            data += b"more"
        elif kind == 2:
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        if kind == 3:
            (mirror / path.name).mkdir()
        elif kind != 4:
            (mirror / path.name).write_bytes(data)
    return wrong


def _command(chance: random.Random, good: dict[str, Path], mirror: Path, folder: Path) -> list[str]:
    names = chance.sample(sorted(good), 2)
    odd = folder / "odd.pt"
    odd.write_bytes(chance.randbytes(3000))
    return chance.choice(
        [
            ["pull", *names],
            ["pull", *names],
            ["pull", *names, "--to", str(folder / "copies")],
            ["path", names[0]],
            ["list", "--json"],
            ["show", names[0]],
            ["verify"],
            ["add", str(good[names[0]]), "--as", names[1]],
            ["add", str(good[names[0]]), "--as", names[0]],
            ["convert", str(odd), "--as", "mine"],
            ["rm", *names],
        ]
    )


def _spoil(home: Path, chance: random.Random) -> None:
    """What is only remembered about files may be anything."""
    for path in sorted(home.glob("state/*.json")):
        path.write_bytes(
            chance.choice([b"[" * 100_000, b"{}", b'{"size": 1e999}', b"\xff\xfe", path.read_bytes()[:20]])
        )
    for path in sorted(home.glob("converted/*")):
        path.write_bytes(chance.randbytes(100))


def _check(this: Round, home: Path, good: dict[str, Path]) -> None:
    """A file that is there under a weight's name is the right one."""
    right = {path.name: path for path in good.values()}
    for path in sorted(home.glob("files/*")):
        if path.name in right and path.read_bytes() != right[path.name].read_bytes():
            this.tell(f"{path.name} in the weights folder is not the file that the catalogue names")
    shutil.rmtree(this.folder / "copies", ignore_errors=True)
