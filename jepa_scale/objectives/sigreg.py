"""Latents drawn to a standard normal law by sliced normality tests."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale.objectives.base import Objective, gather, mean_square
from jepa_scale.objectives.collapse import epps_pulley
from jepa_scale.records import View
from jepa_scale.streams import stream_seed


class SIGReg(Objective):
    """MSE(ẑ, z) + weight · EP, EP the sliced Epps–Pulley statistic of latents (LeJEPA, arXiv:2511.08544).

    MSE is the mean over rows, steps and coordinates, without stop-gradient; EP is ``epps_pulley`` of the latents of the
    global batch at each step of the window, averaged over steps, on ``slices`` directions that are drawn anew at every
    training step, from its number alone: all processes, and a resumed run, draw the same.

    Raises
    ------
    ValueError
        If the weight is negative or there is no direction.
    """

    def __init__(self, k: int, weight: float = 10.0, slices: int = 128) -> None:
        super().__init__()
        if weight < 0 or slices < 1:
            raise ValueError(f"expected weight ≥ 0 and slices ≥ 1, got {weight=}, {slices=}")
        self.k, self.weight, self.slices = k, weight, slices
        self.drawn = 0
        """Training steps whose directions were drawn; no buffer, as reading one waits for the device."""

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        directions = self.given
        if directions is None:
            directions = self.directions(self.drawn).to(view.latents)
            if self.training:
                self.drawn += 1
        steps = gather(view.latents).unbind(1)
        apart = torch.stack([epps_pulley(rows, directions) for rows in steps]).mean()
        return mean_square(view.predicted, view.latents[:, 1:]) + self.weight * apart

    def draw_ahead(self, steps: int) -> Tensor:
        """Unit directions of the next training steps, (steps, slices, k)."""
        self.drawn += steps
        return torch.stack([self.directions(step) for step in range(self.drawn - steps, self.drawn)])

    def get_extra_state(self) -> Tensor:
        """The number of steps, saved with the model: a resumed run goes on where it was."""
        return torch.tensor(self.drawn)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a saved number of steps."""
        self.drawn = int(state)

    def directions(self, step: int) -> Tensor:
        """Unit directions of a training step, (slices, k)."""
        generator = torch.Generator().manual_seed(stream_seed(step, "sigreg"))
        drawn = torch.randn(self.slices, self.k, generator=generator)
        return drawn / drawn.norm(dim=1, keepdim=True)
