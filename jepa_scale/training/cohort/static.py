"""Steps of a stack on a device that the host does not wait for: inputs, weights and sums stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jepa_scale.objectives.base import Objective
from jepa_scale.training.cohort.adamw import StackedAdamW, bring
from jepa_scale.training.cohort.batches import ResidentRows
from jepa_scale.training.cohort.graph import StepGraph
from jepa_scale.training.cohort.numbers import state_of

if TYPE_CHECKING:
    from jepa_scale.training.cohort.stack import Stack


class StaticSteps:
    """Takes the steps of a stack on tensors that stay in place, so that a step can be recorded (``StepGraph``).

    Numbers of windows, rates and what objectives draw for all steps asked for are computed by the host and moved to the
    device at once; there each step's own are copied to where the step reads them. Clipping, rates, sums of losses and
    the mask of runs that are alive are on the device. The stack's weights become views of one (M, P) tensor.

    Raises
    ------
    NotStackable
        If observations are in a file.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack, trainees = stack, stack.trainees
        self.device = next(iter(stack.parameters.values())).device
        self.rows = ResidentRows(stack.batches)
        own = [dict(one.module.named_parameters()) for one in trainees]
        leaves = {name: [held[name.removeprefix("model.")] for held in own] for name in stack.used}
        self.adam = StackedAdamW([one.optimizer for one in trainees], [one.schedule for one in trainees], leaves)
        for name, view in self.adam.views.items():
            view.copy_(stack.parameters[name].detach())
            # Replaced in place, so that names keep their order.
            stack.parameters[name] = view.detach().requires_grad_()
        members, like = len(trainees), self.adam.weights
        self.chosen = torch.zeros(members, stack.batches.size, dtype=torch.int64, device=self.device)
        self.rates = like.new_zeros(4, members, 1)
        self.alive = torch.ones(members, 1, dtype=torch.bool, device=self.device)
        self.sums = torch.stack([one.module.loss_sum for one in trainees])
        parts = [part for part in stack.template.modules() if isinstance(part, Objective)]
        before = stack.numbers()
        drawn = [(part, values) for part in parts if (values := part.draw_ahead(1)) is not None]
        stack.put_numbers(before)
        self.drawing = [part for part, _ in drawn]
        """Objectives that draw on the host what a step needs."""
        self.given = [values[0].to(like) for _, values in drawn]
        held = stack.parameters | stack.buffers
        rest = [value.detach() for name, value in held.items() if name not in self.adam.views]
        changed = [like, self.adam.first, self.adam.second, self.sums, *rest]
        self.graph = StepGraph(self.step, changed, lambda: (stack.losses, stack.latents), stack.numbers)
        self._pairs = [
            (m, value, (stack.parameters if name in stack.parameters else stack.buffers)[name].detach()[m])
            for m, one in enumerate(trainees)
            for name, value in state_of(one.module).items()
        ]
        """Run, tensor of its module, and the view of ours that stands for it."""
        self._read(self.adam.moments)

    def step(self) -> None:
        """Take the step whose inputs are in place; everything that it reads and changes stays where it is."""
        stack = self.stack
        for part, values in zip(self.drawing, self.given, strict=True):
            part.given = values
        found = stack.gradients(self.rows.take(self.chosen))
        with torch.no_grad():
            gradient = self.adam.flat([found[name] for name in self.adam.views])
            if (clip := stack.trainees[0].clip) is not None:
                norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
                gradient.mul_((clip / (norms + 1e-6)).clamp(max=1.0))
            self.adam.take(gradient, self.rates, self.alive)
            stack.follow()
            self.sums += stack.losses

    def advance(self, step: int, steps: int) -> None:
        """Take ``steps`` steps, of which ``step`` is the first, and give every run that is alive its new state.

        If memory does not suffice, the runs are left as they were before the first of the steps.
        """
        stack = self.stack
        with torch.no_grad():
            chosen = self.rows.draw(step, steps).to(self.device)
            rates = self.adam.rates(step, steps).to(self.device)
            ahead = [part.draw_ahead(steps) for part in self.drawing]
            drawn = [values.to(self.adam.weights) for values in ahead if values is not None]
            alive = [[m in stack.alive] for m in range(len(stack.trainees))]
            self.alive.copy_(torch.tensor(alive))
            # Of those alone that go on: Lightning moves the module of a run that has ended to the host.
            torch._foreach_copy_(
                [self.sums[m] for m in stack.alive], [stack.trainees[m].module.loss_sum for m in stack.alive]
            )

        def feed(number: int) -> None:
            self.chosen.copy_(chosen[number])
            self.rates.copy_(rates[number])
            for given, values in zip(self.given, drawn, strict=True):
                given.copy_(values[number])

        if not self.graph.ready and steps > 1:
            before = stack.numbers()
            self.graph.prepare(feed)
            stack.put_numbers(before)
        for number in range(steps):
            feed(number)
            self.graph.take()
        self._write(steps)

    @torch.no_grad()
    def read(self) -> None:
        """Take the weights and buffers of the runs, which may have changed between epochs."""
        self._read(self._pairs)

    def _read(self, pairs: list[tuple[int, Tensor, Tensor]]) -> None:
        torch._foreach_copy_([ours for _, _, ours in pairs], [theirs.detach() for _, theirs, _ in pairs])

    @torch.no_grad()
    def _write(self, steps: int) -> None:
        stack, alive = self.stack, set(self.stack.alive)
        # First of all what needs memory. Of the next step's these tensors are overwritten.
        losses, latents = stack.losses.clone(), stack.latents.clone()
        pairs = [(theirs, ours) for m, theirs, ours in (*self._pairs, *self.adam.moments) if m in alive]
        torch._foreach_copy_([theirs.detach() for theirs, _ in pairs], [ours for _, ours in pairs])
        torch._foreach_copy_(
            [stack.trainees[m].module.loss_sum for m in stack.alive], [self.sums[m] for m in stack.alive]
        )
        torch._foreach_add_([count for m, count in self.adam.counts if m in alive], steps)
        for m in stack.alive:
            one = stack.trainees[m]
            bring(one.optimizer, one.schedule, steps)
            one.module.last_loss, one.module.last_latents = losses[m], latents[m]
        stack.write_numbers()
        if self.device.type == "cuda":
            # Seconds of steps are shared by who took them, not charged to the run that looks first.
            torch.cuda.synchronize(self.device)
