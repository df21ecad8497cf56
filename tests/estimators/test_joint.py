import numpy as np
import pytest

from jepa_scale.estimators.actions import ActionBasis, with_actions
from jepa_scale.estimators.joint import joint_spectrum
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.spectrum import OperatorSums, operator_spectrum
from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.worlds.torus import Torus


def moments_of(h, f, actions, trajectories, count):
    return grouped_moments(h, f, actions.astype(np.int64), trajectories, count)


def one_operator(h, f, trajectories):
    return operator_spectrum(OperatorSums.of(moments_of(h, f, np.zeros(len(h)), trajectories, 1), 0, "same_action"))


@pytest.mark.parametrize("rare", [False, True])
def test_blocks_equal_the_product_features(rare, generator):
    """Against moments of z ⊗ onehot(a) itself, whole and with groups left out; also where an action is in one group."""
    n, k, count = 3000, 3, 3
    trajectories = np.arange(n) // 10
    actions = generator.integers(count, size=n)
    if rare:
        actions = np.where(actions == 2, 0, actions)
        actions[trajectories == 16] = 2
        actions[trajectories == 32] = 2
    z = generator.normal(size=(n, k)) + 2
    f = 0.6 * z * (1 + actions[:, None]) + generator.normal(size=(n, k)) - 1
    joint = joint_spectrum(moments_of(z, f, actions, trajectories, count))
    onehot = np.eye(count)[actions]
    features = np.hstack([onehot[:, :1], with_actions(z, onehot)])
    direct = one_operator(features, f, trajectories)
    np.testing.assert_allclose(joint.singular_values.whole, direct.singular_values.whole, atol=1e-10)
    if not rare:
        np.testing.assert_allclose(joint.singular_values.left_out, direct.singular_values.left_out, atol=1e-9)
        np.testing.assert_allclose(joint.own.value, direct.own.value, atol=1e-8)
    assert joint.singular_values.whole[0] == pytest.approx(1, abs=1e-10)
    assert (joint.p, joint.q) == (count * (k + 1) - 1, k) == (direct.p, direct.q)
    assert joint.rows == n


def test_total_is_the_mean_of_pooled_totals_of_an_exact_world():
    """T_joint = Σ_a π(a) T_pooled(a), on one-hot embeddings of a blurred torus."""
    world = Torus(3, 0.2, 0.8)
    sample = world.sample(1500, 20, seed=3)
    states, actions = sample.states, sample.actions
    onehot = np.eye(9)
    moments = moments_of(
        onehot[states[:, :-1].ravel()],
        onehot[states[:, 1:].ravel()],
        actions.ravel(),
        np.repeat(np.arange(1500), 20),
        5,
    )
    found = joint_spectrum(moments).total
    squares = (normalised_co_occurrence(world.finite, "pooled") ** 2).sum((1, 2))
    # Four errors.
    assert abs(float(found.value) - world.finite.policy @ squares) < 4 * float(found.standard_error)
    assert found.standard_error < 0.05


def test_basis_is_orthonormal_and_bounded_in_size(generator):
    actions = generator.uniform(-3, 5, size=(200_000, 2))
    basis = ActionBasis(actions, 10)
    assert (basis.degree, len(basis)) == (3, 10)
    values = basis(actions)
    np.testing.assert_allclose(values[:, 0], 1)
    # Means of 200 000 products of deviation below 4.
    np.testing.assert_allclose(values.T @ values / len(values), np.eye(10), atol=0.05)
    assert np.isfinite(basis(np.array([[100.0, -100.0]]))).all()
    constant = np.column_stack([actions, np.ones(len(actions))])
    assert len(ActionBasis(constant, 10)) == 10
    with pytest.raises(ValueError, match="room for 3 functions of an action, got 2"):
        ActionBasis(actions, 2)


def test_a_world_that_moves_by_its_action_is_seen_with_it(generator):
    """x⁺ = cos, sin of θ + a: nothing of z alone is left, all of it with the products of z and functions of a."""
    n = 20_000
    angle, action = generator.uniform(0, 2 * np.pi, n), generator.uniform(-np.pi, np.pi, (n, 1))
    z = np.column_stack([np.cos(angle), np.sin(angle)])
    turned = angle + action[:, 0]
    f = np.column_stack([np.cos(turned), np.sin(turned)])
    trajectories = np.arange(n)
    alone = one_operator(z, f, trajectories).total.value
    together = one_operator(with_actions(z, ActionBasis(action, 6)(action)), f, trajectories).total.value
    assert alone == pytest.approx(1, abs=0.01)
    # Degree 5 of cos and sin on [−π, π]: the rest of the squares is below one in a hundred.
    assert together == pytest.approx(3, abs=0.03)
