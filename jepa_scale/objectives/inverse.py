"""Another objective with an inverse-dynamics term beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.objectives.base import Head, Objective, gather
from jepa_scale.records import ActionSpace, View


class WithInverseDynamics(Objective):
    """base + weight · error of the action told from (z_t, z_{t+1}), so that latents keep what actions change.

    The action is told by a network (as in PLDM, arXiv:2502.14819), which ``head`` makes: cross-entropy for discrete
    actions; for continuous ones, moved to [−1, 1], the mean square over rows, steps and coordinates.

    Raises
    ------
    ValueError
        If the weight is negative.
    """

    def __init__(self, base: Objective, k: int, head: Head, action_space: ActionSpace, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"expected a weight ≥ 0, got {weight=}")
        self.base, self.weight, self.space = base, weight, action_space
        self.bounded_below, self.encodes_again = base.bounded_below, base.encodes_again
        self.head = head(2 * k, action_space.code_size)

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        told = self.head(torch.cat([view.latents[:, :-1], view.latents[:, 1:]], dim=-1))
        if self.space.discrete:
            errors = nn.functional.cross_entropy(told.movedim(-1, 1), view.actions, reduction="none")
        else:
            errors = (told - self.space.unit(view.actions)).square().mean(-1)
        return self.base(view) + self.weight * gather(errors.mean(1)).mean()

    def after_step(self, encoder: nn.Module) -> None:
        """The base objective's."""
        self.base.after_step(encoder)

    def decoded(self, latents: Tensor) -> Tensor:
        """The base objective's."""
        return self.base.decoded(latents)

    def readout(self, latents: Tensor) -> Tensor:
        """The base objective's."""
        return self.base.readout(latents)

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """The base objective's."""
        return self.base.goal(observations, latents)
