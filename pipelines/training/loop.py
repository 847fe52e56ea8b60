"""The training loop that encoders and compensators share: steps, averages, validation, checkpoints that lose nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.errors import GanInvError, UsageError
from pipelines.files import write_atomic
from pipelines.images.pixels import encode, resize_area, to_uint8
from pipelines.training.base_specs import LoopSpec
from pipelines.training.checkpoint import all_finite, load_state, save_state
from pipelines.training.run import Report

STATE, BEST = "last.safetensors", "best.safetensors"
WARM_UP = 100  # steps


class Task(Protocol):
    """What is trained on what."""

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The weighted loss terms of one step; a function of its arguments and of `state`."""

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Figures whose sum says how good the network is (lower is better), and rows of sample pictures."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class Loop:
    """Runs a task in the spec's folder, from its last checkpoint where there is one.

    Args:
        data: a hash of the photos; with all of the spec that decides the result it must be equal when a run goes on.
    """

    def __init__(
        self,
        spec: LoopSpec,
        network: nn.Module,
        task: Task,
        accelerator: Accelerator,
        report: Report,
        data: str = "",
    ) -> None:
        self.spec, self.task, self.folder, self.decisive = spec, task, spec.output, spec.decisive(data)
        self.accelerator, self.report = accelerator, report
        self.bare = network
        self.network: nn.Module = accelerator.prepare_model(network)
        self.optimiser = _optimiser(spec, network)
        self.averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step, self.best = 0, math.inf
        self._resume()

    def run(self) -> None:
        """Train to the end of the schedule, or to the spec's `until`.

        Raises:
            GanInvError: the loss is no number any more; the last checkpoint is from before.
            OutputError: the disk is full; likewise.
        """
        end = min(self.spec.until or self.spec.steps, self.spec.steps)
        started, since = time.monotonic(), self.step
        while self.step < end:
            figures = self._step()
            self.step += 1
            if self.step % 20 == 0 or self.step == end:
                self._log({"step": self.step, **figures, "s": round(time.monotonic() - started, 1)})
            if self.step % self.spec.every == 0 or self.step == end:
                self._keep((time.monotonic() - started) / (self.step - since))

    def _step(self) -> dict[str, float]:
        for group, lr in zip(self.optimiser.param_groups, _rates(self.spec, self.step), strict=True):
            group["lr"] = lr
        terms = self.task.terms(self.network, self.step)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise self._broken(next((name for name, t in terms.items() if not torch.isfinite(t)), "the sum"))
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        if self.spec.optimiser == "adamw":
            nn.utils.clip_grad_norm_(self.bare.parameters(), 1.0)
        self.optimiser.step()
        self._average()
        return {name: round(float(term.detach()), 5) for name, term in terms.items()}

    def validate(self) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """The task's figures for the averaged weights."""
        current = {name: value.clone() for name, value in self.bare.state_dict().items()}
        self.bare.load_state_dict(self.averaged)
        self.bare.eval()
        with torch.no_grad():
            result = self.task.validate(self.bare)
        self.bare.load_state_dict(current)
        self.bare.train()
        return result

    def _keep(self, seconds: float) -> None:
        if not all_finite(dict(self.bare.state_dict())):
            raise self._broken("the network's weights")
        figures, pictures = self.validate()
        score = sum(figures.values())
        if self.accelerator.is_main_process:
            write_samples(self.folder / "samples" / f"{self.step:07d}.png", *pictures)
            if score < self.best:
                save_state(self.folder / BEST, {"step": self.step, "figures": figures, "network": self.averaged})
        self.best = min(self.best, score)
        self._log({"step": self.step, "validation": figures, "score": round(score, 5), "s_per_step": round(seconds, 3)})
        self.report({"step": self.step, **{k: round(v, 4) for k, v in figures.items()}, "best": round(self.best, 4)})
        self._save()

    def _save(self) -> None:
        """The whole state to disk; the one of before is replaced only when the new one is complete."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "settings": self.decisive,
            "step": self.step,
            "best": self.best if math.isfinite(self.best) else None,
            "network": dict(self.bare.state_dict()),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "task": self.task.state(),
        }
        save_state(self.folder / STATE, state)

    def _resume(self) -> None:
        path, own = self.folder / STATE, self.decisive
        if not path.exists():
            return
        state = load_state(path)
        if different := sorted(key for key in own if state["settings"].get(key) != own[key]):
            raise UsageError(
                f"'{self.folder}' holds a run with other options ({', '.join(different)}): "
                "repeat them as they were, or choose another --output"
            )
        self.bare.load_state_dict(state["network"])
        self.averaged = {name: value.to(self.accelerator.device) for name, value in state["averaged"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.task.load_state(state["task"])
        self.step, self.best = int(state["step"]), math.inf if state["best"] is None else float(state["best"])

    def _broken(self, where: str) -> GanInvError:
        saved = load_state(self.folder / STATE)["step"] if (self.folder / STATE).exists() else None
        kept = f"the state of step {saved} is kept" if saved is not None else "nothing had been kept yet"
        return GanInvError(
            f"training broke at step {self.step}: {where} is no finite number; {kept}; use a smaller --lr"
        )

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.spec.average, (1 + self.step) / (10 + self.step)) if self.spec.average else 0.0
        for name, value in self.bare.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - decay)
            else:
                self.averaged[name].copy_(value)

    def _log(self, line: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def chances(seed: int, step: int, part: int) -> torch.Generator:
    """Random numbers of one step and part: the same whenever, and in whichever process, they are drawn."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1009 + part + 1)


def _rates(spec: LoopSpec, step: int) -> list[float]:
    """Step sizes of the two groups at `step`."""
    if spec.optimiser == "ranger":
        return [spec.lr] * 2
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / spec.steps)
    lr = spec.lr * min(1.0, (step + 1) / WARM_UP) * (1 / 30 + 29 / 30 * cosine)
    return [lr / 3, lr]


def _optimiser(spec: LoopSpec, network: nn.Module) -> torch.optim.Optimizer:
    slow = [p for name, p in network.named_parameters() if name.startswith("trunk.")]
    fast = [p for name, p in network.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": group} for group in (slow, fast)]
    if spec.optimiser == "ranger":
        return ranger(groups, spec.lr)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(0.9, 0.99), weight_decay=0.01)


def ranger(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """The optimiser of pSp and e4e encoders: RAdam that trusts its second moment from a length of 5 on, Lookahead, centring."""
    from pytorch_optimizer import Ranger

    return Ranger(groups, lr=lr, n_sma_threshold=5, degenerated_to_sgd=True)


def write_samples(path: Path, *rows: Tensor) -> None:
    """Write a PNG grid: one row of pictures per tensor (each n x 3 x S x S in [-1, 1]; S may differ, the least counts)."""
    side = min(row.shape[-1] for row in rows)
    lines = [torch.cat(list(resize_area(row, side).clamp(-1, 1)), dim=2) for row in rows]
    grid = torch.cat(lines, dim=1)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode(to_uint8(grid)[0], "png"))
