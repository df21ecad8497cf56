import numpy as np
import pytest

from jepa_scale.theory.graph import (
    FiniteWorld,
    negative_law,
    next_law,
    normalised_co_occurrence,
    recurrent_states,
    stationary_law,
)
from jepa_scale.theory.spectrum import singular_values
from tests.reference import worlds as reference


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_matches_the_loops(generator, negatives):
    world = reference.random_world(generator)
    expected, marginal = reference.normalised_co_occurrence(world, negatives == "pooled")
    np.testing.assert_allclose(normalised_co_occurrence(world, negatives), expected, atol=1e-14)
    np.testing.assert_allclose(negative_law(world, negatives), marginal, atol=1e-14)


def test_top_singular_value_is_one_for_the_actions_own_law(generator):
    world = reference.random_world(generator)
    np.testing.assert_allclose(singular_values(world)[:, 0], 1.0, atol=1e-12)


def test_pooled_negatives_can_exceed_one(generator):
    values = [singular_values(reference.random_world(generator), "pooled")[:, 0].max() for _ in range(10)]
    assert max(values) > 1.001


def test_unreached_columns_are_zero():
    kernel = np.zeros((1, 3, 3))
    kernel[0, :, 0] = 1.0
    world = FiniteWorld(kernel, np.full(3, 1 / 3), np.ones(1), np.arange(3))
    matrix = normalised_co_occurrence(world)
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(matrix[0, :, 1:], 0.0)


def test_stationary_law_is_stationary(generator):
    kernel = generator.dirichlet(np.ones(7), size=(2, 7))
    policy = np.array([0.3, 0.7])
    law = stationary_law(kernel, policy)
    np.testing.assert_allclose(np.einsum("a,x,axy->y", policy, law, kernel), law, atol=1e-13)


def test_two_recurrent_classes_are_refused():
    with pytest.raises(ValueError, match="no unique stationary law"):
        stationary_law(np.eye(4)[None], np.ones(1))


def test_recurrent_states_are_where_the_stationary_law_is_positive(generator):
    """Sparse random chains of one closed class, against the law itself; the kernel on them is a kernel."""
    found = 0
    for _ in range(60):
        kernel = np.stack([np.eye(7)[generator.integers(0, 7, size=7)] for _ in range(2)])
        policy = np.array([0.3, 0.7])
        try:
            kept = recurrent_states(kernel, policy)
        except ValueError:
            with pytest.raises(ValueError, match="no unique stationary law"):
                stationary_law(kernel, policy)
            continue
        found += len(kept) < 7
        np.testing.assert_array_equal(kept, np.flatnonzero(stationary_law(kernel, policy) > 1e-9))
        np.testing.assert_array_equal(kernel[:, kept][:, :, kept].sum(-1), 1.0)
    assert found > 20


def test_an_action_that_is_never_taken_connects_nothing():
    kernel = np.stack([np.eye(3)[[0, 0, 0]], np.eye(3)[[1, 2, 0]]])
    np.testing.assert_array_equal(recurrent_states(kernel, np.array([1.0, 0.0])), [0])
    np.testing.assert_array_equal(recurrent_states(kernel, np.array([0.5, 0.5])), [0, 1, 2])


def test_several_recurrent_classes_are_counted():
    with pytest.raises(ValueError, match=r"one of 7 classes, of 1, 1, 1, 1, 1, … observations: connect them"):
        recurrent_states(np.eye(7)[None], np.ones(1))


def with_row(action, start, row):
    kernel = np.full((2, 3, 3), 1 / 3)
    kernel[action, start] = row
    return kernel


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.full((2, 3, 3), 0.5)}, r"row \[0, 0\] of transition sums to 1.5: divide"),
        ({"transition": with_row(1, 2, [0.5, 0.5 + 1e-8, 0.0])}, r"row \[1, 2\] of transition sums to 1"),
        ({"transition": with_row(1, 0, [1.25, 0.0, -0.25])}, r"transition\[1, 0, 2\] is -0.25"),
        ({"transition": np.full((3, 3), 1 / 3)}, r"expected transition \(A, N, N\)"),
        ({"context_law": np.array([1.0, 0.0, 0.0])}, "must be positive everywhere"),
        ({"policy": np.ones(3) / 3}, "expected transition"),
        ({"goal_groups": np.arange(2)}, "one goal group per observation"),
        ({"transition": np.full((2, 3, 3), np.nan)}, r"transition\[0, 0, 0\] is nan"),
        ({"policy": np.array([1.5, -0.5])}, r"policy\[1\] is -0.5"),
        ({"policy": np.array([0.5, 0.4])}, "policy sums to 0.9"),
    ],
)
def test_bad_laws_are_refused(change, message):
    fields = {
        "transition": np.full((2, 3, 3), 1 / 3),
        "context_law": np.full(3, 1 / 3),
        "policy": np.full(2, 0.5),
        "goal_groups": np.arange(3),
    }
    with pytest.raises(ValueError, match=message):
        FiniteWorld(**(fields | change))


def test_next_law_sums_to_one(generator):
    np.testing.assert_allclose(next_law(reference.random_world(generator)).sum(1), 1.0, atol=1e-13)
