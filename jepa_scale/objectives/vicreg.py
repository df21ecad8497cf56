"""VICReg on the latents of a world model."""

from __future__ import annotations

from torch import Tensor

from jepa_scale.objectives.base import Objective, gather, mean_square
from jepa_scale.objectives.collapse import covariance_penalty, variance_hinge
from jepa_scale.records import View


class VICReg(Objective):
    """invariance · MSE(ẑ, z) + variance · V + covariance · C (Bardes et al., arXiv:2105.04906; here on world models).

    MSE is the mean over rows, steps and coordinates, without stop-gradient; V and C are those of the encoder's latents
    over the global batch, at each step of the window, averaged over steps.

    Raises
    ------
    ValueError
        If a weight is negative.
    """

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        if min(invariance, variance, covariance) < 0:
            raise ValueError(f"expected weights ≥ 0, got {invariance=}, {variance=}, {covariance=}")
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        loss = self.invariance * mean_square(view.predicted, view.latents[:, 1:])
        steps = gather(view.latents).unbind(1)
        for rows in steps:
            terms = self.variance * variance_hinge(rows) + self.covariance * covariance_penalty(rows)
            loss = loss + terms / len(steps)
        return loss
