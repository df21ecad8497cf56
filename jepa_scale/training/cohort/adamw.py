"""AdamW steps of a stack: of one run by the kernel of its own optimiser, or of all runs at once on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
            states = [moments_of(optimizer, parameter) for parameter in used]
            weights, gradients = ([views[names[parameter]][place] for parameter in used] for place in (0, 1))
            moments = [[state[name] for state in states] for name in MOMENTS]
            self._states += states
            if used:
                self._count.copy_(states[0]["step"])
                self._groups.append((group, [weights, gradients, *moments, [self._count] * len(used)]))

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
        bring(self.optimizer, self.schedule, steps)


MOMENTS = ("exp_avg", "exp_avg_sq")
_ALIGNED = 32
"""Numbers that the place of a leaf is a multiple of, so that kernels may read several at once."""


class StackedAdamW:
    """AdamW of M runs at once, on weights and moments that lie side by side as (M, P) on one device.

    What differs from step to step and from run to run comes as (M, 1) tensors, so that a step is the same sequence of
    kernels whatever its number: by the formula of ``torch.optim.AdamW``, as its kernel takes one rate for all.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        schedules: Sequence[Any],
        leaves: Mapping[str, Sequence[Tensor]],
    ) -> None:
        """``leaves`` are the parameters of each run by name, of those that have gradients."""
        self._courses = [schedule.total_steps for schedule in schedules]
        groups = [optimizer.param_groups for optimizer in optimizers]
        group_of = {id(one): g for held in groups for g, group in enumerate(held) for one in group["params"]}
        first = {name: parameters[0] for name, parameters in leaves.items()}
        kind = next(iter(first.values()))
        self._sizes = [(one.numel(), -one.numel() % _ALIGNED) for one in first.values()]
        width = sum(sum(size) for size in self._sizes)
        self.weights, self.first, self.second, self._gradient = (kind.new_zeros(len(groups), width) for _ in range(4))
        columns = [
            torch.full((sum(size),), group_of[id(one)]) for one, size in zip(first.values(), self._sizes, strict=True)
        ]
        self._columns = torch.cat(columns).to(kind.device) if len(groups[0]) > 1 else None
        """(P,) parameter group of each column; None if there is one."""
        self._peaks, self._decays = (
            torch.tensor([[group[name] for group in held] for held in groups], dtype=kind.dtype, device=kind.device)
            for name in ("max_lr", "weight_decay")
        )
        # The same in all groups of AdamWOneCycle.
        self._second_decay, self._eps = groups[0][0]["betas"][1], groups[0][0]["eps"]
        self.views = {name: self._views(self.weights, at, one.shape) for at, (name, one) in enumerate(first.items())}
        """(M, …) weights by name."""
        self._gradients = [self._views(self._gradient, at, one.shape) for at, one in enumerate(first.values())]
        every = [(at, m, parameters[m]) for at, parameters in enumerate(leaves.values()) for m in range(len(groups))]
        states = [(at, m, moments_of(optimizers[m], one)) for at, m, one in every]
        self.moments = [
            (m, state[name], self._views(flat, at, one.shape)[m])
            for (at, m, state), (_, _, one) in zip(states, every, strict=True)
            for name, flat in zip(MOMENTS, (self.first, self.second), strict=True)
        ]
        """Run, tensor of its own optimiser, and the view of ours that stands for it."""
        self.counts = [(m, state["step"]) for _, m, state in states]

    def _views(self, flat: Tensor, at: int, shape: Sequence[int]) -> Tensor:
        start = sum(sum(size) for size in self._sizes[:at])
        return flat[:, start : start + self._sizes[at][0]].view(len(flat), *shape)

    def flat(self, gradients: Sequence[Tensor]) -> Tensor:
        """(M, P) of (M, …) gradients, one for each leaf in order; overwritten by the next ones."""
        torch._foreach_copy_(self._gradients, list(gradients))
        return self._gradient

    def rates(self, step: int, steps: int) -> Tensor:
        """What ``take`` is given at each step, (steps, 4, M, 1), computed by the host in float64.

        Share of the peak rate, 1 − β₁, 1 / (1 − β₁ᵗ) and 1 / √(1 − β₂ᵗ), t the step's number from 1.
        """
        counts = torch.arange(step + 1, step + steps + 1, dtype=torch.float64)
        second = (1 - self._second_decay**counts).sqrt()
        by_length = {}
        for total in set(self._courses):
            scale, decay = torch.tensor(course(total)[step : step + steps], dtype=torch.float64).unbind(1)
            by_length[total] = torch.stack([scale, 1 - decay, 1 / (1 - decay**counts), 1 / second], 1)
        rows = torch.stack([by_length[total] for total in self._courses], 2)
        return rows[..., None].to(self.weights.dtype)

    def take(self, gradient: Tensor, rates: Tensor, alive: Tensor) -> None:
        """Update the runs that are ``alive``, (M, 1), by gradients (M, P) at the rates (4, M, 1); others stay."""
        scale, gain, first_bias, second_bias = rates.unbind(0)
        rate = self._peaks * scale
        kept, moved = 1 - rate * self._decays, rate * first_bias
        if self._columns is not None:
            kept, moved = kept.index_select(1, self._columns), moved.index_select(1, self._columns)
        first = torch.lerp(self.first, gradient, gain)
        second = (self.second * self._second_decay).addcmul_(gradient, gradient, value=1 - self._second_decay)
        weights = self.weights * kept - moved * first / (second.sqrt() * second_bias + self._eps)
        for old, new in ((self.first, first), (self.second, second), (self.weights, weights)):
            old.copy_(torch.where(alive, new, old))


def moments_of(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Moments of a parameter, made as the optimiser makes them before its first step."""
    state: dict[str, Tensor] = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        for name in MOMENTS:
            state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return state


def bring(optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> None:
    """Bring a schedule to where ``steps`` steps lead, which computes rates from the number of steps alone."""
    schedule.last_epoch += steps - 1
    schedule._step_count += steps - 1
    # The first of all says that the optimiser has stepped, which torch warns of else.
    optimizer._opt_called = True  # type: ignore[attr-defined]
    schedule.step()


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
