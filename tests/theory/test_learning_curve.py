import numpy as np
import pytest

from jepa_scale.theory.learners import fit_per_action, fit_shared, sample_counts
from jepa_scale.theory.learning_curve import (
    LearningCurve,
    _regret,
    best_regret_width,
    best_risk_width,
    learning_curve,
    score_group,
)
from jepa_scale.theory.planning import PlanningProblem, goal_weights, plan_values, random_regret
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus
from tests.reference import learners as slow
from tests.reference import worlds as reference

EXACT = 1e-10
PROBLEM = PlanningProblem(1, "reachable")


@pytest.mark.parametrize(
    ("learner", "expected", "pooled"),
    [(fit_per_action, slow.per_action_matrix, False), (fit_shared, slow.shared_matrix, True)],
    ids=["per_action", "shared"],
)
def test_a_curve_is_the_slow_risk_and_regret_of_each_data_set(learner, expected, pooled):
    world = reference.random_world(np.random.default_rng(5), states=5, groups=[0, 0, 1, 1, 2])
    widths = (1, 2, 5)
    curve = learning_curve(world, PROBLEM, (40, 300), widths, 2, np.random.default_rng(8), learner)
    goals = goal_weights(world, PROBLEM)
    for row, stream in enumerate(np.random.default_rng(8).spawn(2)):
        for column, source in enumerate(stream.spawn(2)):
            counts = sample_counts(world, (40, 300)[row], source)
            for place, k in enumerate(widths):
                matrices = expected(world, counts, k)
                risk = world.policy @ slow.risk(world, matrices, pooled)
                regret = slow.one_step_regret(world, slow.density(world, matrices, pooled), goals)
                assert curve.risks[row, column, place] == pytest.approx(risk, abs=EXACT)
                assert curve.regrets[row, column, place] == pytest.approx(regret, abs=EXACT)


def test_group_scores_are_sums_over_the_goals_group(generator):
    world = reference.random_world(generator, states=5, groups=[3, 0, 3, 1, 0])
    estimate = generator.normal(size=(3, 5, 5))
    expected = np.zeros_like(estimate)
    for goal in range(5):
        for other in range(5):
            if world.goal_groups[goal] == world.goal_groups[other]:
                expected[:, :, goal] += estimate[:, :, other]
    np.testing.assert_allclose(score_group(world, estimate), expected, atol=EXACT)


def test_a_model_that_knows_nothing_has_the_regret_of_chance(generator):
    """Scores of a fit to one transition are 0 nearly everywhere: all ties, shared evenly."""
    world = reference.random_world(generator)
    goals = goal_weights(world, PROBLEM)
    from jepa_scale.theory.learning_curve import _regret

    values = plan_values(world, 1)
    chance = random_regret(values, world.context_law, goals)
    assert _regret(values, np.zeros_like(values), world.context_law, goals) == pytest.approx(chance, abs=EXACT)
    assert _regret(values, values, world.context_law, goals) == pytest.approx(0.0, abs=EXACT)


def test_more_data_sets_and_other_widths_leave_the_present_ones(generator):
    world = reference.random_world(generator)
    few = learning_curve(world, PROBLEM, (100,), (1, 3), 2, np.random.default_rng(1), fit_shared)
    many = learning_curve(world, PROBLEM, (100,), (1, 2, 3, 6), 4, np.random.default_rng(1), fit_shared)
    np.testing.assert_allclose(many.risks[:, :2, [0, 2]], few.risks, atol=EXACT)
    np.testing.assert_allclose(many.regrets[:, :2, [0, 2]], few.regrets, atol=EXACT)
    assert many.datasets == 4


def test_standard_errors_are_those_of_the_mean(generator):
    world = reference.random_world(generator)
    curve = learning_curve(world, PROBLEM, (50,), (2, 4), 5, generator, fit_per_action)
    np.testing.assert_allclose(curve.risk, curve.risks.sum(1) / 5, atol=EXACT)
    for samples, error in (
        (curve.risks, curve.risk_standard_error),
        (curve.regrets, curve.regret_standard_error),
    ):
        for place in range(2):
            column = samples[0, :, place]
            expected = np.sqrt(((column - column.mean()) ** 2).sum() / 4 / 5)
            assert error[0, place] == pytest.approx(expected, abs=EXACT)


def test_best_width_of_the_risk_grows_with_the_data():
    """Truncated SVD on a blurred torus: k* = 1, then whole multiplets of singular values."""
    world = Torus(8, 0.2, 1.0).finite
    curve = learning_curve(
        world, PROBLEM, (1_000, 10_000, 100_000), range(1, 65), 4, np.random.default_rng(2), fit_per_action
    )
    best = best_risk_width(curve, np.random.default_rng(3))
    # σ² in multiplets 1, 4, 4, 4, 8, …: the best widths end with a multiplet.
    assert best.width.tolist() == [1, 9, 21]
    assert (best.low <= best.width).all()
    assert (best.width <= best.high).all()


def test_regret_pays_for_widths_on_both_sides_of_the_rank():
    """9 hidden states × 4 observations: too narrow loses states, too wide memorises the nuisance."""
    world = Nuisance(Torus(3, 0.2, 0.0), 4).finite
    curve = learning_curve(world, PROBLEM, (1_500,), (1, 9, 36), 6, np.random.default_rng(4), fit_shared)
    best = best_regret_width(curve, np.random.default_rng(5))
    assert best.width.tolist() == [9]
    assert best.share.tolist() == [1.0]
    excess = curve.regrets[0] - curve.regrets[0][:, 1:2]
    assert (excess[:, [0, 2]].mean(0) > 4 * excess[:, [0, 2]].std(0) / np.sqrt(6)).all()


def planted(samples):
    samples = np.asarray(samples, dtype=float)[None]
    return LearningCurve(np.array([10]), np.array([1, 2, 4]), samples, samples)


def test_best_width_by_hand():
    # k = 4 is best by 0.5 on average, but its paired difference to k = 2 is 0.5 ± 0.5: k = 2 is within one error.
    best = best_risk_width(planted([[9, 1, 1], [9, 2, 1]]), np.random.default_rng(0))
    assert best.width.tolist() == [4]
    assert best.within_one_standard_error.tolist() == [2]
    # Both data sets the first: k = 2 and 4 are equal and the smaller counts, with probability 1/4.
    assert best.share[0] == pytest.approx(0.75, abs=0.06)
    assert (best.low[0], best.high[0]) == (2, 4)
    # Data sets that differ by 100 with every width by the same: the paired difference has no error.
    shared = best_risk_width(planted([[102, 101, 100], [2, 1, 0]]), np.random.default_rng(0))
    assert (shared.within_one_standard_error[0], shared.share[0]) == (4, 1.0)
    sure = best_regret_width(planted([[9, 1, 0], [9, 1, 0]]), np.random.default_rng(0))
    assert (sure.width[0], sure.within_one_standard_error[0], sure.share[0]) == (4, 4, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": PlanningProblem(2)}, "horizon=2"),
        ({"sizes": (0,)}, "at least one transition"),
        ({"datasets": 1}, "at least 2 data sets"),
        ({"widths": (1, 1)}, "increase"),
        ({"widths": (0, 2)}, "increase"),
        ({"widths": (2, 7)}, "N=6"),
        ({"widths": ()}, "increase"),
    ],
)
def test_impossible_curves_are_refused(generator, change, message):
    arguments = {
        "world": reference.random_world(generator),
        "problem": PROBLEM,
        "sizes": (10,),
        "widths": (1, 2),
        "datasets": 2,
        "generator": generator,
        "learner": fit_shared,
    }
    with pytest.raises(ValueError, match=message):
        learning_curve(**(arguments | change))


def test_a_bootstrap_needs_a_draw(generator):
    with pytest.raises(ValueError, match="draws=0"):
        best_risk_width(planted([[1, 2, 3], [1, 2, 3]]), generator, draws=0)


def test_a_huge_density_at_a_rare_start_makes_no_ties_elsewhere():
    """Two starts; at the first the scores are 10¹⁰ times those of the second, which still chooses its best action."""
    values = np.array([[[1.0, 0.0], [0.2, 0.8]], [[0.0, 1.0], [0.4, 0.6]]])
    scores = values * np.array([1e10, 1.0])[None, :, None]
    assert _regret(values, scores, np.full(2, 0.5), np.full((2, 2), 0.5)) == 0.0
