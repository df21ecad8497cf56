import itertools

import numpy as np
import pytest

from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.planning import (
    PlanningProblem,
    all_plans,
    check_enumerable,
    closed_loop_values,
    do_nothing_regret,
    expected_regret,
    goal_multiplicity,
    goal_weights,
    plan_values,
    random_regret,
    unreachable_share,
)
from tests.reference import worlds as reference

EXACT = 1e-10


def three_states():
    """Action 0 stays with probability 3/4, action 1 moves round with probability 1/2."""
    stay = np.array([[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]])
    move = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    return FiniteWorld(np.stack([stay, move]), np.full(3, 1 / 3), np.array([0.5, 0.5]), np.arange(3), null_action=0)


def test_values_on_three_states_by_hand():
    values = plan_values(three_states(), 2)
    # From 0 to 1 in two steps: stay-stay .75·.25 + .25·.75, stay-move .75·.5 + .25·.5, move-stay the same by
    # commutation, move-move .5·.5 + .5·.5.
    np.testing.assert_allclose(values[:, 0, 1], [0.375, 0.5, 0.5, 0.5], atol=EXACT)
    # From 0 back to 0: two stays .5625, mixed .375, two moves .25.
    np.testing.assert_allclose(values[:, 0, 0], [0.5625, 0.375, 0.375, 0.25], atol=EXACT)


@pytest.mark.parametrize("groups", [[0, 0, 1, 2], [3, 1, 0, 2]])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_values_match_the_sum_over_paths(generator, horizon, groups):
    world = reference.random_world(generator, states=4, actions=2, groups=groups)
    values = plan_values(world, horizon)
    for index, plan in enumerate(all_plans(2, horizon)):
        for start, goal in itertools.product(range(4), range(4)):
            assert values[index, start, goal] == pytest.approx(
                reference.plan_value(world, plan, start, goal), abs=EXACT
            )


def test_regret_by_hand():
    world = three_states()
    values, goals = plan_values(world, 1), goal_weights(world, PlanningProblem(1, "uniform"))
    # Best to stay for x_g = x_0 (.75 against .5), to move for the next state (.5 against .25); the third cannot be
    # reached. Always staying loses .25 on one goal of three, whatever the start.
    stay = np.zeros((3, 3), dtype=np.int64)
    assert expected_regret(values, stay, world.context_law, goals) == pytest.approx(0.25 / 3, abs=EXACT)
    assert do_nothing_regret(world, values, 1, goals) == pytest.approx(0.25 / 3, abs=EXACT)
    # A random action loses half of .25 on two goals of three.
    assert random_regret(values, world.context_law, goals) == pytest.approx(0.25 / 3, abs=EXACT)


def test_the_best_plan_has_no_regret(generator):
    world = reference.random_world(generator)
    values = plan_values(world, 2)
    for law in ("uniform", "data", "reachable"):
        goals = goal_weights(world, PlanningProblem(2, law))
        np.testing.assert_allclose(goals.sum(1), 1.0, atol=EXACT)
        assert expected_regret(values, values.argmax(0), world.context_law, goals) == 0.0


def test_reachable_goals_are_reached_by_the_behaviour_policy(generator):
    world = reference.random_world(generator, states=4, actions=2)
    expected = np.zeros((4, 4))
    for first, second in itertools.product(range(2), repeat=2):
        weight = world.policy[first] * world.policy[second]
        expected += weight * world.transition[first] @ world.transition[second]
    np.testing.assert_allclose(goal_weights(world, PlanningProblem(2, "reachable")), expected, atol=EXACT)


def test_do_nothing_repeats_the_null_action(generator):
    world = reference.random_world(generator, states=4, actions=3)
    values, goals = plan_values(world, 2), goal_weights(world, PlanningProblem(2, "data"))
    index = next(i for i, plan in enumerate(all_plans(3, 2)) if (plan == 0).all())
    expected = expected_regret(values, np.full((4, 4), index), world.context_law, goals)
    assert do_nothing_regret(world, values, 2, goals) == expected


def test_multiplicity_of_goal_groups(generator):
    assert goal_multiplicity(reference.random_world(generator)) == 1.0
    assert goal_multiplicity(reference.random_world(generator, groups=[0, 0, 1, 1, 2, 2])) is None
    assert goal_multiplicity(reference.random_world(generator, groups=[0, 0, 0, 1, 2, 2])) is None
    hidden = reference.random_world(generator, states=3)
    doubled = np.kron(hidden.transition, np.full((2, 2), 0.5))
    world = FiniteWorld(doubled, np.full(6, 1 / 6), hidden.policy, np.repeat(np.arange(3), 2))
    assert goal_multiplicity(world) == 2.0


def test_impossible_problems_are_refused():
    with pytest.raises(ValueError, match="horizon=0"):
        PlanningProblem(0)
    with pytest.raises((ValueError, TypeError), match="goal_law"):
        PlanningProblem(1, "everywhere")
    with pytest.raises(ValueError, match=r"2\^100000 plans"):
        check_enumerable(2, 2, 100_000)
    with pytest.raises(ValueError, match=r"5\^6 plans × 200² .*shorter horizon or a smaller world.*closed_loop_values"):
        check_enumerable(5, 200, 6)


def policies(states, actions, horizon):
    return itertools.product(itertools.product(range(actions), repeat=states), repeat=horizon)


@pytest.mark.parametrize("horizon", [1, 2])
def test_dynamic_programming_is_the_best_of_all_policies(generator, horizon):
    world = reference.random_world(generator, states=3, actions=2, groups=[0, 0, 1])
    found = closed_loop_values(world, horizon)
    best = np.zeros((3, 3))
    for policy in policies(3, 2, horizon):
        reached = np.eye(3)
        for rule in policy:
            reached = reached @ np.stack([world.transition[action, state] for state, action in enumerate(rule)])
        by_group = np.stack([reached[:, world.goal_groups == world.goal_groups[goal]].sum(1) for goal in range(3)], 1)
        best = np.maximum(best, by_group)
    np.testing.assert_allclose(found, best, atol=1e-12)


def test_dynamic_programming_beats_every_plan_where_it_can_look(generator):
    world = reference.random_world(generator, states=4, actions=3)
    assert (closed_loop_values(world, 3) > plan_values(world, 3).max(0) + 1e-3).any()


def test_dynamic_programming_reaches_horizons_that_cannot_be_enumerated():
    """Nine steps round a ring of ten: only "round" nine times arrives; 2^60 plans cannot be listed."""
    ring = np.stack([np.eye(10), np.roll(np.eye(10), 1, axis=1)])
    world = FiniteWorld(ring, np.full(10, 0.1), np.array([0.5, 0.5]), np.arange(10))
    assert closed_loop_values(world, 8)[0, 9] == 0
    assert closed_loop_values(world, 9)[0, 9] == 1
    assert (closed_loop_values(world, 60) == 1).all()
    with pytest.raises(ValueError, match="horizon=0"):
        closed_loop_values(world, 0)


def test_share_of_starts_and_goals_that_no_plan_connects():
    """One step on a ring of three, staying or moving: a third of uniform goals lie two steps away."""
    world = three_states()
    values = plan_values(world, 1)
    shares = [
        unreachable_share(values, world.context_law, goal_weights(world, PlanningProblem(1, law)))
        for law in ("uniform", "reachable")
    ]
    assert shares == pytest.approx([1 / 3, 0.0])
