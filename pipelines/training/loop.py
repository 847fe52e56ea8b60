"""The training loop that encoders and compensators share: steps, averages, validation, checkpoints that lose nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.errors import GanInvError, UsageError
from pipelines.training.checkpoint import all_finite, load_state, save_state
from pipelines.training.ranger import Ranger
from pipelines.training.samples import write_samples

Report = Callable[[dict[str, Any]], None]
STATE, BEST = "last.safetensors", "best.safetensors"
WARM_UP = 100  # steps


class LoopSettings(Protocol):
    """What the loop needs of a run's settings, which are a frozen dataclass: all of it must be equal when a run goes on.

    Attributes:
        steps: optimiser steps.
        optimiser: ``adamw`` (warm-up, cosine to a thirtieth) or ``ranger`` (constant, as published).
        lr: step size; parameters of a `trunk` move at a third of it.
        average: decay of the averaged weights, which are validated and kept; 0: none.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int: ...
    @property
    def optimiser(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...


class Task(Protocol):
    """What is trained on what."""

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The weighted loss terms of one step; a function of its arguments and of `state`."""

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Figures whose sum says how good the network is (lower is better), and rows of sample pictures."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class Loop:
    """Runs a task in `folder`, from its last checkpoint where there is one.

    Args:
        every: steps between validations and checkpoints.
    """

    def __init__(
        self,
        settings: LoopSettings,
        network: nn.Module,
        task: Task,
        folder: Path,
        accelerator: Accelerator,
        report: Report,
        every: int = 200,
    ) -> None:
        self.settings, self.task, self.folder = settings, task, folder
        self.accelerator, self.report, self.every = accelerator, report, every
        self.bare = network
        self.network: nn.Module = accelerator.prepare_model(network)
        self.optimiser = _optimiser(settings, network)
        self.averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.step, self.best = 0, math.inf
        self._resume()

    def run(self, until: int | None = None) -> None:
        """Train to the end of the schedule, or to step `until`.

        Raises:
            GanInvError: the loss is no number any more; the last checkpoint is from before.
            OutputError: the disk is full; likewise.
        """
        end = self.settings.steps if until is None else min(until, self.settings.steps)
        started, since = time.monotonic(), self.step
        while self.step < end:
            figures = self._step()
            self.step += 1
            if self.step % 20 == 0 or self.step == end:
                self._log({"step": self.step, **figures, "s": round(time.monotonic() - started, 1)})
            if self.step % self.every == 0 or self.step == end:
                self._keep((time.monotonic() - started) / (self.step - since))

    def _step(self) -> dict[str, float]:
        for group, lr in zip(self.optimiser.param_groups, _rates(self.settings, self.step), strict=True):
            group["lr"] = lr
        terms = self.task.terms(self.network, self.step)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise self._broken(next((name for name, t in terms.items() if not torch.isfinite(t)), "the sum"))
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        if self.settings.optimiser == "adamw":
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
            "settings": _plain(self.settings),
            "step": self.step,
            "best": self.best if math.isfinite(self.best) else None,
            "network": dict(self.bare.state_dict()),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "task": self.task.state(),
        }
        save_state(self.folder / STATE, state)

    def _resume(self) -> None:
        path, own = self.folder / STATE, _plain(self.settings)
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
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step)) if self.settings.average else 0.0
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


def _plain(settings: LoopSettings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain


def _rates(settings: LoopSettings, step: int) -> list[float]:
    """Step sizes of the two groups at `step`."""
    if settings.optimiser == "ranger":
        return [settings.lr] * 2
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
    lr = settings.lr * min(1.0, (step + 1) / WARM_UP) * (1 / 30 + 29 / 30 * cosine)
    return [lr / 3, lr]


def _optimiser(settings: LoopSettings, network: nn.Module) -> torch.optim.Optimizer:
    slow = [p for name, p in network.named_parameters() if name.startswith("trunk.")]
    fast = [p for name, p in network.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": group} for group in (slow, fast)]
    if settings.optimiser == "ranger":
        return Ranger(groups, lr=settings.lr)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), weight_decay=0.01)
