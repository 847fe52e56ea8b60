"""Three kinds of direction for the same attributes, on the same composed photos: linear, a principal component, a map.

    ganinv train directions --keep --faces 2500 --seed 0 --photos ./faces -o ./run      # leaves ./run/faces-2500-0.npz
    python -m benchmarks.direction_kinds ./run/faces-2500-0.npz --photos ./faces --attributes age smile face_width

*Linear* is what ships. *Component*: of all principal components of w, in four spans of rows, the one that a linear fit says
moves the attribute most for what else it moves (GANSpace, Härkönen et al. 2020). *Map*: a step that depends on the code,
v + C tanh(A u), trained against a network that reads all attributes from codes (after Latent Transformer, Yao et al. 2021,
which has one linear map a row); v is the linear step, A the attributes' own gradients, so that it begins as the linear one
and may lean on a face's age, sex, pose and the rest. All are cut to the rows of the shipped direction.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.models.faces.attributes import MEASURED
from pipelines.stages.edit.direction_set import Direction
from pipelines.stages.edit.directions import own_directions
from pipelines.training.specs import DirectionsSpec
from pipelines.training.tasks.direction_card import Bench, Seen, bench_of, measuring_chain
from pipelines.training.tasks.direction_fit import Sample, gradients
from pipelines.types import Generator
from pipelines.weights.store import StoreConfig, WeightStore

SPANS = ((0, 5), (3, 7), (4, 10), (6, 17))
COMPONENTS = 80
HIDDEN = 192
WIDE = 20_000  # w of which components are computed


class Reader(nn.Module):
    """Attributes from codes: whitened w n x 512 -> n x k deviations; a linear fit, and a small network for what it misses.

    Args:
        linear: k x 512, of a ridge regression.
    """

    def __init__(self, linear: Tensor) -> None:
        super().__init__()
        count, dim = linear.shape
        self.linear = nn.Parameter(linear.clone())
        self.more = nn.Sequential(nn.Linear(dim, HIDDEN), nn.SiLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, count))
        nn.init.zeros_(self.more[-1].weight)
        nn.init.zeros_(self.more[-1].bias)

    def forward(self, u: Tensor) -> Tensor:
        made: Tensor = u @ self.linear.T + self.more(u)
        return made


class StateMap(nn.Module):
    """A step in whitened w that depends on the code: n x 512 -> n x 512.

    Args:
        step: 512, the linear one.
        gradients: k x 512.
    """

    def __init__(self, step: Tensor, gradients: Tensor) -> None:
        super().__init__()
        self.step, self.look = nn.Parameter(step.clone()), nn.Parameter(gradients.clone())
        self.lean = nn.Parameter(torch.zeros_like(gradients))

    def forward(self, u: Tensor) -> Tensor:
        return self.step + torch.tanh(u @ self.look.T) @ self.lean


@dataclass(frozen=True)
class Codes:
    """What was measured on generated faces: whitened w n x 512, attributes n x k in deviations; the last fifth is held out."""

    u: Tensor
    values: Tensor

    @property
    def cut(self) -> int:
        return len(self.u) * 4 // 5


def fitted_reader(codes: Codes, linear: Tensor, steps: int = 1500) -> tuple[Reader, Tensor, Tensor]:
    """The reader, kept where the held-out error was least; and what the linear fit and it explain there, k shares each."""
    reader, cut = Reader(linear), codes.cut
    optimiser = torch.optim.AdamW(reader.parameters(), lr=5e-4, weight_decay=0.05)
    random, best, kept = torch.Generator().manual_seed(0), float("inf"), reader.state_dict()
    before = _explained(reader.eval(), codes)
    for step in range(steps):
        pick = torch.randint(cut, (128,), generator=random)
        loss = (reader.train()(codes.u[pick]) - codes.values[pick]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 25 == 24:
            with torch.no_grad():
                error = float((reader.eval()(codes.u[cut:]) - codes.values[cut:]).square().mean())
            if error < best:
                best, kept = error, {name: value.clone() for name, value in reader.state_dict().items()}
    reader.load_state_dict(kept)
    return reader.eval().requires_grad_(False), before, _explained(reader, codes)


@torch.no_grad()
def _explained(reader: Reader, codes: Codes) -> Tensor:
    truth = codes.values[codes.cut :]
    return 1 - (reader(codes.u[codes.cut :]) - truth).var(dim=0) / truth.var(dim=0)


def fitted_map(reader: Reader, step: Tensor, linear: Tensor, k: int, draw: Any, steps: int = 1200) -> StateMap:
    """A map that moves attribute `k` by one deviation a unit and holds the others, by what the reader says.

    Args:
        draw: count -> whitened w of so many fresh faces.
    """
    made = StateMap(step, linear)
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-3)
    random, length = torch.Generator().manual_seed(1), float(step.square().sum())
    for _ in range(steps):
        u = draw(64)
        strength = torch.rand(len(u), 1, generator=random) * 4 - 2
        move = made(u)
        change = reader(u + strength * move) - reader(u)
        wanted = torch.zeros_like(change)
        wanted[:, k] = strength[:, 0]
        held = (change - wanted).square()
        far = move.square().sum(dim=1).mean() / length
        loss = held.sum(dim=1).mean() + 0.1 * far
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval()


class Kinds:
    """The three kinds of an attribute's direction, as steps L x 512 for each face of the bench.

    Args:
        codes: n x L x 512, of the bench's faces.
    """

    def __init__(self, generator: Generator, sample: Sample, codes: Tensor) -> None:
        self.generator, self.codes = generator, codes
        whiten = generator.w_whiten.numpy()
        b, _ = gradients(sample, generator.w_avg.numpy(), whiten)
        self.linear = torch.from_numpy(b).float()
        values = (sample.values - sample.values.mean(0)) / sample.values.std(0)
        u = (torch.from_numpy(sample.w) - generator.w_avg) @ generator.w_whiten
        self.measured = Codes(u, torch.from_numpy(values).float())
        held_out = Sample(sample.w[: self.measured.cut], sample.values[: self.measured.cut])
        b, _ = gradients(held_out, generator.w_avg.numpy(), whiten)
        self.reader, self.before, self.after = fitted_reader(self.measured, torch.from_numpy(b).float())
        self._back = torch.linalg.pinv(generator.w_whiten.double()).float()
        self._random = torch.Generator().manual_seed(2)
        wide = self._w(WIDE) - generator.w_avg
        _, deviations, self.components = torch.linalg.svd(wide, full_matrices=False)
        self.deviations = deviations / len(wide) ** 0.5
        # What a deviation of each component does to each attribute, components x attributes.
        self.moves = (self.components * self.deviations[:, None]) @ generator.w_whiten @ self.linear.T

    def of(self, direction: Direction, moves: str) -> dict[str, Tensor]:
        """Kind -> steps n x L x 512."""
        k = MEASURED.index(moves)
        rows = direction.vector.abs().sum(1) > 0
        vector = direction.vector[rows][0]
        every = len(self.codes)
        with torch.no_grad():
            step = vector @ self.generator.w_whiten
        found = fitted_map(self.reader, step, self.linear, k, self._u)
        own = self.codes[:, rows].mean(dim=1)
        with torch.no_grad():
            states = (own - self.generator.w_avg) @ self.generator.w_whiten
            leaning = found(states) @ self._back
        component, span = self.component(k)
        placed = torch.zeros(self.generator.num_ws, dtype=torch.bool)
        placed[span[0] : span[1] + 1] = True
        name = f"component {component} @{span[0]}-{span[1]}"
        sign = self.moves[component, k].sign()
        one = self.components[component] * self.deviations[component] * sign
        return {
            "linear": direction.vector.expand(every, -1, -1),
            name: placed[:, None] * one.expand(every, 1, -1),
            "map": rows[:, None] * leaning[:, None],
        }

    def component(self, k: int) -> tuple[int, tuple[int, int]]:
        """The component that moves attribute `k` most for what else it moves; in the rows where our own direction acts most."""
        moves = self.moves[:COMPONENTS]
        others = moves.square().sum(dim=1) - moves[:, k].square()
        best = int((moves[:, k].abs() / (others + 0.05).sqrt()).argmax())
        own = next((each for each in own_directions(self.generator.num_ws) if each.name == MEASURED[k]), None)
        first = int(own.vector.abs().sum(1).nonzero()[0]) if own is not None else 0
        return best, min(SPANS, key=lambda span: abs(span[0] - first))

    def _w(self, count: int) -> Tensor:
        with torch.no_grad():
            return self.generator.map(torch.randn(count, self.generator.w_avg.numel(), generator=self._random))

    def _u(self, count: int) -> Tensor:
        return (self._w(count) - self.generator.w_avg) @ self.generator.w_whiten


def row(seen: Mapping[float, Seen], moves: str) -> dict[str, Any]:
    """What a kind did: deviations moved at -1 and +1, likeness lost for one, and the largest thing that comes along for one."""
    slopes = {name: (seen[1.0].mean(name) - seen[-1.0].mean(name)) / 2 for name in seen[1.0].moved}
    own = slopes.pop(moves)
    name = max(slopes, key=lambda each: abs(np.nan_to_num(slopes[each])))
    lost = 1 - float(np.nanmean([seen[sign].identity for sign in (-1.0, 1.0)]))
    return {
        "moved": [round(seen[sign].mean(moves), 2) for sign in (-1.0, 1.0)],
        "likeness": round(1 - lost, 3),
        "moved for .1 of likeness": round(own / lost / 10, 3),
        "comes along": f"{name} {slopes[name] / own:+.2f}",
    }


def compare(kinds: Kinds, bench: Bench, directions: Sequence[Direction], asked: Sequence[str]) -> None:
    """Prints a table of kinds for each attribute asked."""
    print(
        "| attribute | kind | moved at -1, +1 | likeness | moved for .1 of likeness | most that comes along, a deviation |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for direction in directions:
        if direction.name in asked and direction.name in MEASURED:
            for kind, steps in kinds.of(direction, direction.name).items():
                each = [replace(direction, vector=step, below=None, hold=None) for step in steps]
                found = row({sign: bench.each(each, sign) for sign in (-1.0, 1.0)}, direction.name)
                low, high = found["moved"]
                print(f"| `{direction.name}` | {kind} | {low:+}, {high:+} | {found['likeness']} | "
                      f"{found['moved for .1 of likeness']} | {found['comes along']} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path, help="faces-N-SEED.npz of a run of `ganinv train directions`")
    parser.add_argument("--photos", type=Path, required=True, help="folder of aligned faces that nothing is judged by")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--attributes", nargs="+", default=["age", "smile", "face_width", "gender"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    store = WeightStore(StoreConfig.from_env(os.environ))
    chain = measuring_chain(store)
    with torch.no_grad():
        bench = bench_of(chain, store, DirectionsSpec(photos=options.photos, bench=options.count, output=Path()))
    data = np.load(options.sample)
    kinds = Kinds(chain.generator, Sample(data["w"], data["values"]), bench.codes)
    print("| attribute | a linear fit explains | and a network |\n|---|---|---|")
    for name, before, after in zip(MEASURED, kinds.before.tolist(), kinds.after.tolist(), strict=True):
        print(f"| `{name}` | {before:.2f} | {after:.2f} |")
    print("\n| component | share of variance | moves, deviations each |\n|---|---|---|")
    shares = kinds.deviations.square() / kinds.deviations.square().sum()
    for index in range(12):
        order = kinds.moves[index].abs().argsort(descending=True)[:4].tolist()
        told = ", ".join(f"{MEASURED[k]} {float(kinds.moves[index, k]):+.2f}" for k in order)
        print(f"| {index} | {float(shares[index]):.3f} | {told} |")
    print()
    compare(kinds, bench, own_directions(chain.generator.num_ws), options.attributes)


if __name__ == "__main__":
    main()
