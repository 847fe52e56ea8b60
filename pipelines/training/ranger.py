"""Ranger: rectified Adam with centred gradients and slow weights, the optimiser of pSp and e4e encoders.

Three published parts in one step: RAdam (Liu et al., ICLR 2020), Lookahead (Zhang et al., NeurIPS 2019) and gradient
centralisation (Yong et al., ECCV 2020); the combination is Wright's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ranger(torch.optim.Optimizer):
    """See the module. All that a further step depends on (moments, slow weights, step counts) is in `state_dict`.

    Args:
        params: parameters or groups of them, as for every torch optimiser.
        lr: step size.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        period: fast steps between two steps of the slow weights (Lookahead's k).
        alpha: how far the slow weights then move towards the fast ones, (0, 1].
        threshold: the length of the moving average above which the second moment is trusted; below it the step is
            bias-corrected momentum (5 in e4e; RAdam itself says 4).

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        period: int = 6,
        alpha: float = 0.5,
        threshold: float = 5.0,
    ) -> None:
        if lr < 0 or eps < 0 or period < 1 or not 0 < alpha <= 1 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                "ranger needs lr >= 0, eps >= 0, period >= 1, alpha in (0, 1] and betas in [0, 1); "
                f"got {lr}, {eps}, {period}, {alpha}, {betas}"
            )
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "period": period, "alpha": alpha, "threshold": threshold},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, self._state(parameter), group)
        return loss

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
            state["slow"] = parameter.detach().clone()
        return state


def _update(parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    assert parameter.grad is not None
    gradient = centred(parameter.grad)
    beta1, beta2 = group["betas"]
    state["step"] += 1
    state["mean"].lerp_(gradient, 1 - beta1)
    state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    factor, rectified = rectification(state["step"], beta1, beta2, group["threshold"])
    if rectified:
        scale = state["square"].sqrt().add_(group["eps"])
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] * factor)
    else:
        parameter.add_(state["mean"], alpha=-group["lr"] * factor)
    if state["step"] % group["period"] == 0:
        state["slow"].lerp_(parameter, group["alpha"])
        parameter.copy_(state["slow"])


def centred(gradient: Tensor) -> Tensor:
    """A gradient without its mean over all but the first dimension (Yong et al., equation 1); vectors stay as they are."""
    if gradient.ndim < 2:
        return gradient
    return gradient - gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True)


def rectification(step: int, beta1: float, beta2: float, threshold: float) -> tuple[float, bool]:
    """RAdam's step factor (Liu et al., algorithm 2), bias corrections included.

    Args:
        step: counted from 1.

    Returns:
        (factor, whether the second moment divides the step).
    """
    longest = 2 / (1 - beta2) - 1
    decay = beta2**step
    length = longest - 2 * step * decay / (1 - decay)
    correction = 1 - beta1**step
    if length <= threshold:
        return 1 / correction, False
    variance = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return math.sqrt((1 - decay) * variance) / correction, True
