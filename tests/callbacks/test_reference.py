"""The reference dictionary on a linear-Gaussian process, whose canonical correlations are known."""

import numpy as np
import pytest

from jepa_scale.callbacks import reference
from jepa_scale.callbacks.reference import reference_of
from jepa_scale.records import ActionSpace, Trajectories

RHO = 0.6
SPACE = ActionSpace(None, 1)


def autoregression(episodes, length=20, seed=0):
    """y⁺ = ρ y + √(1 − ρ²) ε from its stationary law, under actions that do nothing."""
    generator = np.random.default_rng(seed)
    values = [generator.normal(size=episodes)]
    for _ in range(length):
        values.append(RHO * values[-1] + (1 - RHO**2) ** 0.5 * generator.normal(size=episodes))
    states = np.stack(values, axis=1)[..., None].astype(np.float32)
    actions = generator.uniform(-1, 1, size=(episodes, length, 1)).astype(np.float32)
    return Trajectories(states.copy(), actions, states, seed, "uniform")


@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_canonical_correlations_of_a_linear_gaussian_process(eps, monkeypatch):
    """1, ρ, ρ², … (Hermite polynomials, Mehler's formula), with ρ/(1 + ε²) at resolution ε; T = 1/(1 − ρ²)."""
    monkeypatch.setattr(reference, "WIDEST", 64)
    found = reference.reference_of(autoregression(1000), SPACE, eps)
    rho = RHO / (1 + eps**2)
    # A correlation of 20 000 pairs has an error of 0.005; of later ones, noise of 64 features is left.
    np.testing.assert_allclose(np.asarray(found.whole.singular_values.value)[:2], [1.0, rho], atol=0.02)
    total, error = float(found.whole.total.value), float(found.whole.total.standard_error)
    # A t of 15 degrees of freedom beyond 4.1 has odds of 1e-3.
    assert abs(total - 1 / (1 - rho**2)) < 4.1 * error
    assert error < 0.15
    assert found.of == "states"
    assert found.whole.rows == 20_000
    assert (found.whole.widths, found.half.widths) == ((64, 64), (32, 32))


def test_states_that_are_not_known_are_replaced_by_what_is_seen():
    known = autoregression(200)
    blind = Trajectories(known.observations, known.actions, None, 0, "uniform")
    assert reference_of(blind, SPACE, 0.1).of == "observations"
    images = np.random.default_rng(0).integers(0, 255, size=(200, 21, 4, 4, 1)).astype(np.uint8)
    assert reference_of(Trajectories(images, known.actions, None, 0, "uniform"), SPACE, 0.1).of == "pixels"


def test_too_few_transitions_give_none():
    """25 for each of 16 features: 400 transitions are enough, 380 are not."""
    assert reference_of(autoregression(20), SPACE, 0.1).whole.widths == (16, 16)
    assert reference_of(autoregression(19), SPACE, 0.1) is None
