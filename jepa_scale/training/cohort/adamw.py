"""AdamW steps of one run of a stack, by the kernel and with the state of its own optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from jepa_scale.training.world_model import WorldModel


class Steps:
    """Updates views of stacked weights by the moments that the run's own optimiser holds, which are changed in place.

    Learning rate and first moment's decay follow the run's own one-cycle schedule. Overhead is what this saves: the
    optimiser's and the scheduler's own ``step`` take as long as the arithmetic of a small model.
    """

    def __init__(
        self,
        module: WorldModel,
        optimizer: torch.optim.Optimizer,
        schedule: Any,
        views: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        """``views`` are weights and gradients by name, of the parameters that have gradients."""
        self.optimizer, self.schedule = optimizer, schedule
        names = {parameter: f"model.{name}" for name, parameter in module.named_parameters()}
        self._course = course(schedule.total_steps)
        self._count = torch.zeros((), dtype=torch.float32, device=optimizer.param_groups[0]["params"][0].device)
        """Steps taken, one for all parameters between ``write`` and ``write``."""
        self._states: list[dict[str, Tensor]] = []
        self._groups: list[tuple[dict[str, Any], list[list[Tensor]]]] = []
        for group in optimizer.param_groups:
            used = [parameter for parameter in group["params"] if names[parameter] in views]
            states = [self._state(parameter) for parameter in used]
            weights, gradients = ([views[names[parameter]][place] for parameter in used] for place in (0, 1))
            moments = [[state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")]
            self._states += states
            if used:
                self._count.copy_(states[0]["step"])
                self._groups.append((group, [weights, gradients, *moments, [self._count] * len(used)]))

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Moments of a parameter, made as the optimiser makes them before its first step."""
        state: dict[str, Tensor] = self.optimizer.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state

    def take(self, step: int) -> None:
        """Update the weights by the gradients of a step, the run's first being 0."""
        scale, decay = self._course[step]
        self._count += 1
        for group, (weights, gradients, first, second, counts) in self._groups:
            torch._fused_adamw_(
                weights,
                gradients,
                first,
                second,
                [],
                counts,
                lr=group["max_lr"] * scale,
                beta1=decay,
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def write(self, steps: int) -> None:
        """Bring the schedule to where ``steps`` steps lead, which computes rates from the number of steps alone."""
        for state in self._states:
            state["step"].copy_(self._count)
        self.schedule.last_epoch += steps - 1
        self.schedule._step_count += steps - 1
        # The first of all says that the optimiser has stepped, which torch warns of else.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self.schedule.step()


@lru_cache(maxsize=16)
def course(steps: int) -> tuple[tuple[float, float], ...]:
    """Share of the peak rate, and decay of the first moment, at every step of torch's one-cycle schedule."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = OneCycleLR(optimizer, 1.0, total_steps=steps)
    (group,) = optimizer.param_groups
    found = []
    for step in range(steps):
        found.append((float(group["lr"]), float(group["betas"][0])))
        if step < steps - 1:
            optimizer._opt_called = True  # type: ignore[attr-defined]
            schedule.step()
    return tuple(found)
