"""Every bound, attacked on random worlds: no violation where its hypotheses hold, and E2's violations reproduced."""

import numpy as np
import pytest

from jepa_scale.planners.scores import best_plans
from jepa_scale.theory.bounds import b1_prime, t4, t5
from jepa_scale.theory.bounds.base import BoundCase, WorldConstants
from jepa_scale.theory.graph import FiniteWorld, normalised_co_occurrence
from jepa_scale.theory.planning import PlanningProblem, expected_regret, plan_values
from jepa_scale.theory.spectrum import exact_risk
from tests.reference import worlds as reference


def doubly_stochastic(generator, states, actions):
    """Mixtures of permutations keep the uniform law, so q_a does not depend on a."""
    weights = generator.dirichlet(np.full(4, 0.5), size=actions)
    return np.stack([sum(w * np.eye(states)[generator.permutation(states)] for w in row) for row in weights])


def case_of(world, encoder, predictor, score, goal_law="reachable", negatives="same_action"):
    constants = WorldConstants.of(world, PlanningProblem(1, goal_law), negatives)
    return BoundCase(constants, score, exact_risk(world, encoder, predictor, negatives), predictor)


def regret_of(world, encoder, predictor, case):
    import torch

    law = torch.as_tensor(case.constants.negatives_law)
    chosen = best_plans(case.score, torch.as_tensor(predictor), torch.as_tensor(encoder), law).numpy()
    return expected_regret(plan_values(world, 1), chosen, world.context_law, case.constants.goals)


def noisy_model(generator, world, negatives="same_action"):
    """Exact factors plus noise of random size: models from perfect to useless."""
    from jepa_scale.theory.graph import negative_law

    law = negative_law(world, negatives)
    encoder = np.eye(world.states)
    predictor = world.transition / law[:, None, :]
    noise = 10 ** generator.uniform(-3, 0.5)
    return encoder, predictor + noise * generator.normal(size=predictor.shape)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("goal_law", ["uniform", "data", "reachable"])
def test_no_violation_with_the_density_score(generator, goal_law, negatives):
    tight = 0.0
    for _ in range(150):
        world = reference.random_world(generator, states=int(generator.integers(2, 7)))
        model = noisy_model(generator, world, negatives)
        case = case_of(world, *model, "density", goal_law, negatives)
        regret = regret_of(world, *model, case)
        for bound in (t4, b1_prime):
            result = bound.value(case)
            assert result.applies
            assert regret <= result.value + 1e-12
            tight = max(tight, regret / result.value)
    assert tight > 0.01, "the trials never came near the bound, so they tested nothing"


def test_no_violation_of_t4_by_inner_product_when_the_next_law_ignores_the_action(generator):
    for _ in range(150):
        states = int(generator.integers(2, 7))
        world = FiniteWorld(
            doubly_stochastic(generator, states, 3), np.full(states, 1 / states), np.full(3, 1 / 3), np.arange(states)
        )
        model = noisy_model(generator, world)
        case = case_of(world, *model, "inner")
        assert t4.value(case).applies
        assert regret_of(world, *model, case) <= t4.value(case).value + 1e-12


def test_e2_the_published_assumption_is_not_enough(generator):
    """With exact factors the bound is 0; worlds whose q_a differ have regret all the same, and are flagged."""
    violated = 0
    for _ in range(100):
        world = reference.random_world(generator)
        predictor = world.transition / np.einsum("x,axy->ay", world.context_law, world.transition)[:, None, :]
        case = case_of(world, np.eye(world.states), predictor, "inner", "uniform")
        bound = t4.value(case)
        assert bound.value < 1e-6
        if regret_of(world, np.eye(world.states), predictor, case) > 1e-6:
            violated += 1
            assert not bound.applies
    assert violated > 10


def test_bounds_count_goal_groups(generator):
    """A regret by group of M interchangeable observations is M times the one by observation, and so are its bounds."""
    hidden = FiniteWorld(
        doubly_stochastic(generator, 3, 2), np.full(3, 1 / 3), np.full(2, 0.5), np.arange(3, dtype=np.int64)
    )
    kernel = np.kron(hidden.transition, np.full((4, 4), 0.25))
    fields = (kernel, np.full(12, 1 / 12), hidden.policy)
    by_group = FiniteWorld(*fields, np.repeat(np.arange(3), 4))
    by_observation = FiniteWorld(*fields, np.arange(12))
    model = noisy_model(generator, by_group)
    cases = [case_of(world, *model, "density") for world in (by_group, by_observation)]
    for bound in (t4, t5, b1_prime):
        assert bound.value(cases[0]).value == pytest.approx(4 * bound.value(cases[1]).value)
    regrets = [regret_of(world, *model, case) for world, case in zip((by_group, by_observation), cases, strict=True)]
    assert regrets[0] == pytest.approx(4 * regrets[1])


def test_hypotheses_name_what_fails(generator):
    world = reference.random_world(generator)
    model = noisy_model(generator, world)
    failed = {h.statement for h in t4.value(case_of(world, *model, "distance")).hypotheses if not h.holds}
    assert failed == {"q_a does not depend on a", "‖g(f(x₀), a)‖ is the same for every a"}
    failed = {h.statement for h in b1_prime.value(case_of(world, *model, "inner")).hypotheses if not h.holds}
    assert failed == {"plans ranked by the density score"}
    assert not t5.value(case_of(world, *model, "density")).applies


def test_vacuous_is_a_flag_and_never_a_clip(generator):
    world = reference.random_world(generator)
    wild = 50 * generator.normal(size=(world.actions, world.states, world.states))
    bound = b1_prime.value(case_of(world, np.eye(world.states), wild, "density"))
    assert bound.vacuous
    assert bound.value > 10


def test_values_by_the_definitions(generator):
    world = reference.random_world(generator, states=4, actions=2)
    encoder, predictor = noisy_model(generator, world)
    case = case_of(world, encoder, predictor, "density")
    matrix, marginal = reference.normalised_co_occurrence(world, pooled=False)
    goals = case.constants.goals
    c0 = c3 = omega = 0.0
    for start in range(4):
        for goal in range(4):
            ratios = [np.sqrt(marginal[a, goal] / world.context_law[start]) for a in range(2)]
            c0 += world.context_law[start] * goals[start, goal] * max(ratios)
            c3 = max(c3, *ratios)
            omega = max(omega, *(goals[start, goal] * marginal[a, goal] for a in range(2)))
    np.testing.assert_allclose(matrix, normalised_co_occurrence(world), atol=1e-14)
    risk = case.risk
    assert t4.value(case).value == pytest.approx(2 * c0 * np.sqrt(risk.max()), rel=1e-12)
    assert t5.value(case).value == pytest.approx(2 * c3 * np.sqrt(risk.max()), rel=1e-12)
    assert b1_prime.value(case).value == pytest.approx(2 * np.sqrt(omega * risk.sum()), rel=1e-12)
