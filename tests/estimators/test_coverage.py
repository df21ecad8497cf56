"""Whether 95 % intervals contain the truth 95 times in 100, on Markov chains with a context per trajectory."""

from functools import cached_property

import numpy as np
import pytest

from jepa_scale.estimators.model import estimate_model
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.spectrum import canonical_correlations, exact_moments, spectral_loss
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.torus import Torus

DATA_SETS = 300


class Contexts(ExactWorld):
    """A torus in one of several static contexts, drawn once for a trajectory: the worst case of dependence."""

    def __init__(self, side=3, contexts=4):
        self.hidden, self.contexts = Torus(side, 0.2, 0.6), contexts

    def kernel(self):
        return np.kron(self.hidden.finite.transition, np.eye(self.contexts))

    @cached_property
    def finite(self):
        # Reducible: the uniform law is stationary, and not the only one.
        kernel = self.kernel()
        states = kernel.shape[1]
        return FiniteWorld(kernel, np.full(states, 1 / states), np.full(5, 0.2), np.arange(states))


@pytest.mark.slow
@pytest.mark.parametrize("trajectories", [100, 400])
def test_intervals_cover(trajectories):
    """T, the eight largest squares, and L, each within [0.91, 0.99]: 2.7 binomial errors about 0.95."""
    generator = np.random.default_rng(4)
    world, k, length = Contexts(), 12, 40
    finite = world.finite
    encoder = generator.normal(size=(finite.states, k))
    predictor = np.stack([kernel @ encoder for kernel in finite.transition]) + 0.3 * generator.normal(
        size=(5, finite.states, k)
    )
    constant = np.ones((finite.states, 1))
    augmented = exact_moments(
        finite, np.hstack([constant, encoder]), np.concatenate([np.tile(constant, (5, 1, 1)), predictor], axis=2)
    )
    squares = canonical_correlations(augmented) ** 2
    truth = {
        "total": squares.sum(-1),
        "top8": squares[:, :8].sum(-1),
        "loss": spectral_loss(exact_moments(finite, encoder, predictor)),
    }
    covered = {name: np.zeros(5) for name in truth}
    for seed in range(DATA_SETS):
        sample = world.sample(trajectories, length, seed)
        starts, ends, actions = sample.states[:, :-1].ravel(), sample.states[:, 1:].ravel(), sample.actions.ravel()
        moments = grouped_moments(
            predictor[actions, starts], encoder[ends], actions, np.repeat(np.arange(trajectories), length), 5
        )
        estimate = estimate_model(moments, "same_action")
        for action, (spectrum, risk) in enumerate(zip(estimate.spectra, estimate.risks, strict=True)):
            statistics = {"total": spectrum.total, "top8": spectrum.top(8), "loss": risk.loss}
            for name, statistic in statistics.items():
                low, high = statistic.interval()
                covered[name][action] += low <= truth[name][action] <= high
    # One action at a time is noisy; the five share their data sets, so the binomial error is that of one to five.
    for name, hits in covered.items():
        share = hits.mean() / DATA_SETS
        print(f"{trajectories} trajectories, {name}: {share:.3f}, by action {hits / DATA_SETS}")
        assert 0.91 <= share <= 0.99, name
