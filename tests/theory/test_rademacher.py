import itertools
import math

import numpy as np
import pytest

from jepa_scale.theory.rademacher import (
    augmented_norm,
    exact_finite,
    frobenius_upper,
    layer_norms,
    linear_exact,
    linear_lower,
    linear_upper,
    linear_worst_case_upper,
    massart_upper,
    massart_worst_case_upper,
    spectral_upper,
)
from tests.reference import rademacher as reference

EXACT = 1e-12


@pytest.mark.parametrize("members", [1, 2, 7])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_exact_equals_brute_force(generator, members, n):
    values = generator.normal(size=(members, n))
    assert exact_finite(values) == pytest.approx(reference.finite_class(values), abs=EXACT)


@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 1, 2], [7], [4, 4]])
def test_repeated_points_equal_brute_force(generator, counts):
    values = generator.normal(size=(4, len(counts)))
    found = exact_finite(values, np.array(counts))
    assert found == pytest.approx(reference.finite_class(values, counts), abs=EXACT)


def test_one_point_repeated_often_is_the_mean_absolute_deviation():
    # {+1, −1} at one point: E|Σσ|/n = C(n, n/2)/2ⁿ for even n, far beyond 2ⁿ outcomes.
    n = 1000
    values = np.array([[1.0], [-1.0]])
    expected = math.exp(math.lgamma(n + 1) - 2 * math.lgamma(n / 2 + 1) - n * math.log(2))
    assert exact_finite(values, np.array([n])) == pytest.approx(expected, rel=1e-10)


def test_all_sign_patterns_have_complexity_one():
    patterns = np.array(np.meshgrid(*[[-1.0, 1.0]] * 5)).reshape(5, -1).T
    assert exact_finite(patterns) == pytest.approx(1.0, abs=EXACT)
    assert exact_finite(patterns[:1]) == pytest.approx(0.0, abs=EXACT)


def test_too_many_outcomes_name_the_limit_and_the_way_out(generator):
    with pytest.raises(ValueError, match=r"1\.1e\+09 sign outcomes, more than 2097152.*Massart.*Monte Carlo"):
        exact_finite(generator.normal(size=(2, 30)))
    with pytest.raises(ValueError, match="count ≥ 1"):
        exact_finite(np.ones((2, 2)), np.array([1, 0]))
    with pytest.raises(ValueError, match="finite values"):
        exact_finite(np.array([[np.nan]]))


def test_massart_is_above_the_exact_value_and_near_it_somewhere(generator):
    tightest = np.inf
    for _ in range(50):
        members, n = generator.integers(1, 30), generator.integers(1, 9)
        values = generator.normal(size=(members, n)) + 5 * generator.normal(size=n)
        exact, bound = exact_finite(values), massart_upper(values)
        assert exact <= bound + EXACT
        if members > 1:
            tightest = min(tightest, bound / exact)
        kappa = float(np.abs(values).max())
        assert exact <= massart_worst_case_upper(int(members), kappa, int(n)) + EXACT
    # The lemma loses a factor that tends to 1 for many orthogonal members; without centring it would lose ten.
    assert tightest < 2


def test_massart_worst_case_by_its_formula():
    assert massart_worst_case_upper(8, 3.0, 50) == pytest.approx(3 * math.sqrt(2 * math.log(8) / 50))
    assert massart_worst_case_upper(1, 3.0, 50) == 0.0
    with pytest.raises(ValueError, match="n=0"):
        massart_worst_case_upper(8, 3.0, 0)


def test_linear_class_lies_between_its_closed_forms(generator):
    ratios = []
    for _ in range(40):
        n, k = generator.integers(1, 9), generator.integers(1, 5)
        features = generator.normal(size=(n, k)) * generator.exponential(size=(n, 1))
        exact = linear_exact(features, 2.0)
        assert exact == pytest.approx(reference.linear_class(features, 2.0), abs=EXACT)
        ratios.append(exact / linear_upper(features, 2.0))
        assert linear_lower(features, 2.0) <= exact + EXACT
        radius = float(np.linalg.norm(features, axis=1).max())
        assert exact <= linear_worst_case_upper(radius, 2.0, int(n)) + EXACT
    assert 1 / np.sqrt(2) - EXACT <= min(ratios) < 0.95
    assert max(ratios) <= 1 + EXACT


def test_both_ends_of_khintchine_are_attained():
    equal, orthogonal = np.ones((2, 1)), np.eye(3)
    assert linear_exact(equal, 1.0) == pytest.approx(linear_lower(equal, 1.0), abs=EXACT)
    assert linear_exact(orthogonal, 1.0) == pytest.approx(linear_upper(orthogonal, 1.0), abs=EXACT)


def test_the_supremum_of_the_linear_class_is_approached_by_members(generator):
    features = generator.normal(size=(6, 2))
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    members = 1.5 * np.column_stack([np.cos(angles), np.sin(angles)]) @ features.T
    # The nearest of 200 directions is within π/200, so the loss is at most 1 − cos(π/200) = 1.3e−4.
    assert exact_finite(members) == pytest.approx(linear_exact(features, 1.5), rel=1.3e-4)


def network(generator, sizes):
    weights = [generator.normal(size=(b, a)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]
    return weights, [0.3 * generator.normal(size=len(weight)) for weight in weights]


@pytest.mark.parametrize("sizes", [[3, 1], [3, 5, 1], [2, 6, 4, 1]])
@pytest.mark.parametrize("upper", [spectral_upper, frobenius_upper])
def test_network_bounds_are_above_subclasses_of_their_class(generator, sizes, upper):
    """Members with the same norms (row permutations, signs, smaller steps from 0), on a sample small enough to sum."""
    weights, biases = network(generator, sizes)
    norms = layer_norms(weights, biases)
    inputs = generator.normal(size=(10, sizes[0]))
    members = [reference.relu_network(weights, biases, inputs)[:, 0]]
    while len(members) < 400:
        other_weights, other_biases = network(generator, sizes)
        found = layer_norms(other_weights, other_biases)
        # Shrunk layer by layer until every norm is within the class; the carried 1 keeps s_i and m_i above 1.
        for layer in range(len(other_weights)):
            while (
                found.spectral[layer] > norms.spectral[layer]
                or found.row_sum[layer] > norms.row_sum[layer]
                or found.frobenius[layer] > norms.frobenius[layer]
            ):
                other_weights[layer] *= 0.97
                other_biases[layer] *= 0.97
                found = layer_norms(other_weights, other_biases)
        members.append(reference.relu_network(other_weights, other_biases, inputs)[:, 0])
    exact = exact_finite(np.array(members))
    bound = upper(norms, augmented_norm(inputs), len(inputs))
    assert 0 < exact <= bound


def test_augmented_layers_compute_the_network(generator):
    """The norms are of matrices which, with ReLU between, reproduce the biased network: its Lipschitz bound follows."""
    weights, biases = network(generator, [3, 5, 4, 1])
    norms = layer_norms(weights, biases)
    inputs = 4 * generator.normal(size=(50, 3))
    outputs = reference.relu_network(weights, biases, inputs)
    assert np.linalg.norm(outputs) <= augmented_norm(inputs) * np.prod(norms.spectral)
    assert norms.width == 6
    assert all(value >= 1 for value in norms.spectral[:-1])
    assert norms.spectral[-1] == pytest.approx(np.linalg.norm(np.append(weights[-1], biases[-1])))
    by_rows = [np.sqrt((w**2).sum(1) + b**2).sum() for w, b in zip(weights, biases, strict=True)]
    np.testing.assert_allclose(norms.row_sum, by_rows, rtol=1e-12)


def test_spectral_upper_by_numerical_integration(generator):
    """The closed form against Dudley's integral of the same covering number, minimised on a grid of α."""
    weights, biases = network(generator, [3, 8, 8, 1])
    norms = layer_norms(weights, biases, weights, [bias + 1e-4 for bias in biases])
    n, input_norm = 2000, 60.0
    diameter = input_norm * np.prod(norms.spectral)
    correction = sum((b / s) ** (2 / 3) for b, s in zip(norms.row_sum, norms.spectral, strict=True)) ** 3
    variance = 2 * np.log(2 * norms.width**2) * diameter**2 * correction
    candidates = [diameter / np.sqrt(n)]
    for alpha in np.geomspace(1e-8, 1, 4000) * diameter:
        scales = np.geomspace(alpha, diameter, 400)
        entropy = np.sqrt(variance) / scales
        integral = float((np.diff(scales) * (entropy[1:] + entropy[:-1]) / 2).sum())
        candidates.append(4 * alpha / np.sqrt(n) + 12 / n * integral)
    # The trapezoid rule on 400 geometric steps is within 1e−4 from above, the grid of α within 1e−5.
    assert spectral_upper(norms, input_norm, n) == pytest.approx(min(candidates), rel=5e-4)
    assert spectral_upper(norms, input_norm, n) < diameter / np.sqrt(n)


def test_a_class_of_one_network_has_no_complexity(generator):
    weights, biases = network(generator, [3, 5, 1])
    assert spectral_upper(layer_norms(weights, biases, weights, biases), 10.0, 100) == 0.0


def test_networks_that_do_not_chain_are_refused(generator):
    weights, biases = network(generator, [3, 5, 1])
    with pytest.raises(ValueError, match="chain"):
        layer_norms(weights[::-1], biases[::-1])
    with pytest.raises(ValueError, match="one bias per layer"):
        layer_norms(weights, biases[:1])


def test_the_projects_perceptron_is_a_relu_network(generator):
    """The bounds' hypothesis on the activation, and the layers in the order that ``layer_norms`` takes."""
    import torch

    from jepa_scale.models.layers import perceptron

    net = perceptron(3, 5, 2, 2)
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    assert {type(layer) for layer in net} == {torch.nn.Linear, torch.nn.ReLU}
    weights = [layer.weight.detach().double().numpy() for layer in linear]
    biases = [layer.bias.detach().double().numpy() for layer in linear]
    inputs = generator.normal(size=(20, 3))
    outputs = net.double()(torch.as_tensor(inputs)).detach().numpy()
    np.testing.assert_allclose(reference.relu_network(weights, biases, inputs), outputs, atol=1e-12)
    assert layer_norms(weights, biases).width == 6
