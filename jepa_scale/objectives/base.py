"""What an objective is, and how its rows are gathered over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jepa_scale import processes
from jepa_scale.records import View

Head = Callable[[int, int], nn.Module]
"""Makes a network of an objective's own, from the width of its input to that of its output."""


class Objective(nn.Module):
    """A pretraining loss of windows of transitions.

    Losses that couple the rows of a batch are computed on the global batch, whatever the number of processes: each
    gathers all rows first, so that the same global batch gives the same loss and, after the mean over processes that
    data-parallel training takes, the same gradient.
    """

    bounded_below = True
    """Whether the loss is ≥ 0, so that a multiple of its first value says that training is lost."""
    encodes_again = False
    """Whether roll-outs beyond the training windows must be decoded and encoded again."""
    stacked = False
    """Whether it is called under ``torch.vmap``, for several models at once: no size may depend on values then."""
    given: Tensor | None = None
    """What ``draw_ahead`` has drawn for this step, on the device; None if the step is to draw it itself."""

    def forward(self, view: View) -> Tensor:
        """Loss of a batch, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises")

    def draw_ahead(self, steps: int) -> Tensor | None:
        """Draw what the next training steps draw on the host, (steps, …), and count them; None if they draw nothing.

        So it can be sent to a device for many steps at once.
        """
        del steps
        return None

    def after_step(self, encoder: nn.Module) -> None:
        """Follow the encoder after each optimiser step, where the objective keeps a copy of it."""
        del encoder

    def readout(self, latents: Tensor) -> Tensor:
        """Coordinates in which a planner measures how far a predicted latent (…, k) is from the goal."""
        return latents

    def decoded(self, latents: Tensor) -> Tensor:
        """Observations that predicted latents (…, k) stand for, (…, *shape), of objectives that decode.

        Raises
        ------
        NotImplementedError
            If this one does not.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decoder")

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """The same coordinates of a goal that was observed, (…, *shape), and encoded, (…, k)."""
        del observations
        return latents


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, (B, …) → (processes · B, …), through which gradients flow; else ``rows``.

    Every process is given the sum of the gradients that all of them have of its rows.
    """
    if processes.world_size() == 1:
        return rows
    gathered = _Gather.apply(rows)
    assert isinstance(gathered, Tensor)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(processes.world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # A copy: autograd may hold the same tensor for another branch.
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.chunk(processes.world_size())[processes.rank()]


def mean_square(predicted: Tensor, observed: Tensor) -> Tensor:
    """Mean over rows, steps and coordinates of (ẑ − z)², over all processes."""
    return gather((predicted - observed).square().flatten(1).mean(1)).mean()
