import numpy as np
import pytest

from jepa_scale.estimators.cells import ActionCells
from jepa_scale.estimators.dictionary import RandomFeatures
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.spectrum import OperatorSums, operator_spectrum


def test_cells_share_actions_evenly_and_nest(generator):
    actions = generator.normal(size=(8192, 2)) * [1, 5]
    fine, coarse = ActionCells.of(actions, 16), ActionCells.of(actions, 8)
    assert np.bincount(fine(actions), minlength=16).tolist() == [512] * 16
    np.testing.assert_array_equal(fine(actions) // 2, coarse(actions))


def test_cells_of_one_coordinate_are_quantiles(generator):
    actions = generator.exponential(size=(4000, 1))
    cells = ActionCells.of(actions, 4)
    edges = np.quantile(actions, [0.25, 0.5, 0.75])
    expected = np.searchsorted(edges, actions[:, 0])
    assert (cells(actions) == expected).mean() > 0.999


def test_cells_at_the_door(generator):
    for count in (0, 3, 64):
        with pytest.raises(ValueError, match="power of two"):
            ActionCells.of(generator.normal(size=(10, 1)), count)
    constant = ActionCells.of(np.ones((10, 1)), 2)
    assert set(constant(np.ones((10, 1)))) == {0}


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_a_dictionary_finds_the_total_of_a_blurred_torus(eps, generator):
    """A noiseless shift, seen with N(0, ε²) on both positions: T = 1/(8π ε²) for ε ≪ 1, no more for more features."""
    n = 40_000

    def observed(position):
        angle = 2 * np.pi * (position + eps * generator.normal(size=position.shape))
        return np.hstack([np.cos(angle), np.sin(angle)])

    x = generator.random((n, 2))
    left, right = observed(x), observed(x + 0.13)
    totals = []
    for width in (128, 256):
        phi, psi = (RandomFeatures(side, width, seed) for seed, side in enumerate((left, right)))
        moments = grouped_moments(phi(left), psi(right), np.zeros(n, dtype=np.int64), np.arange(n), 1)
        totals.append(operator_spectrum(OperatorSums.of(moments, 0, "same_action")).total)
    truth = 1 / (8 * np.pi * eps**2)
    assert totals[1].value == pytest.approx(truth, rel=0.02)
    assert totals[0].value < totals[1].value + 3 * totals[1].standard_error


def test_features_at_the_door(generator):
    with pytest.raises(ValueError, match="vary"):
        RandomFeatures(np.ones((10, 2)), 8, 0)
    with pytest.raises(ValueError, match="at least the 3 coordinates"):
        RandomFeatures(generator.normal(size=(10, 3)), 2, 0)
    partly = RandomFeatures(np.column_stack([np.ones(10), generator.normal(size=10)]), 8, 0)
    assert partly(np.ones((4, 2))).shape == (4, 8)
