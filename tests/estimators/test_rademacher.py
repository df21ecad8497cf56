import numpy as np
import pytest

from jepa_scale.estimators.rademacher import last_layer_lower, perturbation_lower
from jepa_scale.theory.rademacher import exact_finite, linear_exact, linear_upper, massart_upper


def test_perturbation_estimate_meets_the_exact_value(generator):
    values = generator.normal(size=(12, 9)) + 3 * generator.normal(size=9)
    found = perturbation_lower(values, 4000, generator)
    # 4.5 standard errors: 7e−6.
    assert abs(found.value - exact_finite(values)) < 4.5 * found.standard_error
    assert found.value <= massart_upper(values) + 4.5 * found.standard_error
    assert (found.draws, found.n) == (4000, 9)


def test_standard_error_is_the_spread_of_repeated_estimates(generator):
    values = generator.normal(size=(5, 8))
    repeated = [perturbation_lower(values, 300, generator) for _ in range(200)]
    spread = np.std([one.value for one in repeated], ddof=1)
    # The spread of 200 is known to 5 %.
    assert spread == pytest.approx(np.mean([one.standard_error for one in repeated]), rel=0.25)


def test_fewer_members_give_a_lower_estimate(generator):
    values = generator.normal(size=(40, 60))
    whole, part = (perturbation_lower(values[:members], 2000, generator) for members in (40, 4))
    assert part.value < whole.value
    # One function can follow no signs.
    assert perturbation_lower(values[:1], 50, generator).value == 0.0


def test_last_layer_estimate_meets_the_exact_value(generator):
    features = generator.normal(size=(10, 3))
    found = last_layer_lower(features, 1.5, 4000, generator)
    assert abs(found.value - linear_exact(features, 1.5)) < 4.5 * found.standard_error
    assert found.value <= linear_upper(features, 1.5) + 4.5 * found.standard_error


def test_single_precision_is_taken_and_generators_decide(generator):
    features = generator.normal(size=(700, 4)).astype(np.float32)
    one, same, other = (last_layer_lower(features, 1.0, 600, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.value != other.value
    assert one.value == pytest.approx(other.value, abs=5 * 2**0.5 * one.standard_error)


def test_bad_input_is_refused(generator):
    with pytest.raises(ValueError, match="draws=1"):
        perturbation_lower(np.ones((2, 3)), 1, generator)
    with pytest.raises(ValueError, match="finite values"):
        perturbation_lower(np.full((2, 3), np.inf), 10, generator)
    with pytest.raises(ValueError, match="norm_bound=-1"):
        last_layer_lower(np.ones((2, 3)), -1.0, 10, generator)
