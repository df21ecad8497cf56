"""What must hold on every world and model: identities to 1e-10, order of the bounds, invariances."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jepa_scale.theory.bounds import b1, b1_double_prime, b1_prime, b2, b3, b5, t4
from jepa_scale.theory.bounds.base import BoundCase, WorldConstants
from jepa_scale.theory.graph import FiniteWorld, normalised_co_occurrence
from jepa_scale.theory.model import TabularModel, clip_spectrum
from jepa_scale.theory.planning import PlanningProblem, closed_loop_values, plan_values
from jepa_scale.theory.rollout import latent_roll_out, operator_scores
from jepa_scale.theory.spectrum import exact_moments, exact_risk, singular_values, spectral_loss, spectral_tail
from tests.reference.strategies import worlds, worlds_with_models

laws = st.sampled_from(["uniform", "data", "reachable"])
negatives = st.sampled_from(["same_action", "pooled"])


def case_of(world, model, goal_law, law, horizon=1, roll_out="latent"):
    return BoundCase(WorldConstants.of(world, PlanningProblem(horizon, goal_law), law), "density", model, roll_out)


def slack(*numbers):
    return 1e-10 * (1 + max(abs(number) for number in numbers))


@given(worlds_with_models(), negatives)
def test_t1_loss_and_risk_differ_by_the_norm_of_the_matrix(both, law):
    world, model = both
    risk = exact_risk(world, model.encoder, model.predictor, law)
    loss = spectral_loss(exact_moments(world, model.encoder, model.predictor, law))
    norm = (normalised_co_occurrence(world, law) ** 2).sum((1, 2))
    scale = 1 + np.abs(loss).max() + norm.max()
    np.testing.assert_allclose(loss + norm, risk, rtol=0, atol=1e-10 * scale)


@given(worlds_with_models(), negatives)
def test_t2_and_b2_are_floors(both, law):
    world, model = both
    constants = WorldConstants.of(world, PlanningProblem(), law)
    risk = exact_risk(world, model.encoder, model.predictor, law)
    assert (risk >= spectral_tail(constants.singular_values, model.k) - 1e-10).all()
    assert world.policy @ risk >= b2.value(constants, model.k).value - 1e-10


@given(worlds())
def test_singular_values_of_a_co_occurrence_matrix_start_at_one(world):
    values = singular_values(world, "same_action")
    np.testing.assert_allclose(values[:, 0], 1.0, rtol=0, atol=1e-10)


@given(worlds_with_models(), laws, negatives)
def test_one_step_bounds_are_ordered_and_above_the_regret(both, goal_law, law):
    case = case_of(*both, goal_law, law)
    regret, margin = case.regret, b5.value(case).value
    two, largest, dimension_free = (bound.value(case).value for bound in (b1, b1_double_prime, b1_prime))
    space = slack(dimension_free)
    assert regret <= margin + space
    assert regret <= two + space
    assert margin <= largest + space
    assert two <= largest + space
    assert largest <= dimension_free + space
    assert largest <= t4.value(case).value + space


@given(worlds_with_models(), laws, negatives, st.integers(1, 3))
def test_b3_and_b5_over_several_steps(both, goal_law, law, horizon):
    world, model = both
    case = case_of(world, model, goal_law, law, horizon, "operator")
    for bound in (b3.value(case, "general"), b5.value(case)):
        assert bound.applies
        assert case.regret <= bound.value + slack(bound.value)
    clipped = case_of(world, clip_spectrum(world, model, law), goal_law, law, horizon, "operator")
    stationary = b3.value(clipped, "stationary")
    if stationary.applies:
        assert clipped.regret <= stationary.value + slack(stationary.value)


@given(worlds_with_models(), negatives)
def test_clipping_the_spectrum_never_costs_risk_where_the_truth_is_a_contraction(both, law):
    world, model = both
    clipped = clip_spectrum(world, model, law)
    if singular_values(world, law).max() > 1 + 1e-12:
        return
    before, after = (exact_risk(world, one.encoder, one.predictor, law) for one in (model, clipped))
    assert (after <= before + 1e-10 * (1 + before)).all()


@given(worlds_with_models(), laws, st.randoms(use_true_random=False))
def test_names_of_observations_do_not_matter(both, goal_law, random):
    world, model = both
    order = list(range(world.states))
    random.shuffle(order)
    renamed = FiniteWorld(
        world.transition[:, order][:, :, order], world.context_law[order], world.policy, world.goal_groups
    )
    moved = TabularModel(model.encoder[order], model.predictor[:, order])
    one, other = case_of(world, model, goal_law, "same_action"), case_of(renamed, moved, goal_law, "same_action")
    for bound in (b1_double_prime, b1_prime, t4):
        expected = bound.value(one).value
        assert abs(bound.value(other).value - expected) <= slack(expected)


@given(worlds_with_models(), st.sampled_from(["data", "reachable"]), st.integers(2, 3))
def test_splitting_observations_into_interchangeable_ones_costs_t4_alone(both, goal_law, copies):
    world, model = both
    kernel = np.kron(world.transition, np.full((copies, copies), 1 / copies))
    split = FiniteWorld(
        kernel, np.repeat(world.context_law, copies) / copies, world.policy, np.repeat(world.goal_groups, copies)
    )
    repeated = TabularModel(np.repeat(model.encoder, copies, axis=0), np.repeat(model.predictor, copies, axis=1))
    one, other = case_of(world, model, goal_law, "same_action"), case_of(split, repeated, goal_law, "same_action")
    for bound, factor in ((b1_double_prime, 1), (b1_prime, 1), (b5, 1), (t4, copies)):
        expected = factor * bound.value(one).value
        assert abs(bound.value(other).value - expected) <= slack(expected)
    assert abs(one.regret - other.regret) <= 1e-10


@given(worlds_with_models(linear=True), st.integers(1, 3), st.integers(0, 2**31))
def test_a_change_of_coordinates_leaves_the_operator_roll_out_alone(both, horizon, seed):
    world, model = both
    turn = np.random.default_rng(seed).normal(size=(model.k, model.k)) + 3 * np.eye(model.k)
    if np.linalg.cond(turn) > 1e3:
        return
    turned = replace(model, encoder=model.encoder @ turn.T, predictor=model.predictor @ np.linalg.inv(turn), maps=None)
    scores = operator_scores(world, model, horizon)
    np.testing.assert_allclose(
        operator_scores(world, turned, horizon), scores, rtol=0, atol=1e-8 * (1 + np.abs(scores).max())
    )


@given(worlds_with_models(linear=True))
def test_the_latent_roll_out_is_the_predictor_on_its_own_output(both):
    _, model = both
    twice = latent_roll_out(model, 2)
    for index in range(len(model.predictor) ** 2):
        first, second = divmod(index, len(model.predictor))
        np.testing.assert_allclose(twice[index], model.predictor[first] @ model.maps[second].T, rtol=1e-10, atol=1e-10)


@given(worlds(), st.integers(1, 3))
def test_values_are_probabilities_and_no_plan_beats_a_policy(world, horizon):
    values = plan_values(world, horizon)
    np.testing.assert_allclose(values.sum(-1), 1.0, rtol=0, atol=1e-10)
    best = closed_loop_values(world, horizon)
    assert (values.max(0) <= best + 1e-12).all()
    if set(np.unique(world.transition)) <= {0.0, 1.0}:
        np.testing.assert_array_equal(values.max(0), best)
