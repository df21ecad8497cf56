"""What the theory says as N, k and T grow, on worlds where it is exact."""

import itertools

import numpy as np
import pytest

from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.tightness import MANY_STEPS, tightness, tightness_by_width
from jepa_scale.worlds.families import FAMILIES
from jepa_scale.worlds.survey import survey, widths_of
from jepa_scale.worlds.torus import Torus


def values(point):
    return {bound.name: bound.value for bound in point.bounds}


def test_b1_prime_knows_no_dimension_and_t4_grows_like_its_root():
    """L×L tori at k = N/4. The spectrum per state is the same for every L but for its edges, and so is B1′."""
    points = [tightness(Torus(side, 0.2, 0.5).finite, side**2 // 4) for side in (4, 8, 12)]
    flat = [values(point)["b1_prime"] for point in points]
    assert max(flat) / min(flat) < 1.05
    growth = [values(point)["t4"] / side for point, side in zip(points, (4, 8, 12), strict=True)]
    assert max(growth) / min(growth) < 1.05
    assert values(points[-1])["t4"] > 2.8 * values(points[0])["t4"]


def test_b1_prime_knows_no_dimension_up_to_576_states():
    points = [tightness(Torus(side, 0.2, 0.5).finite, side**2 // 4) for side in (4, 24)]
    assert values(points[1])["b1_prime"] == pytest.approx(values(points[0])["b1_prime"], rel=0.05)
    assert values(points[1])["t4"] / values(points[0])["t4"] == pytest.approx(6, rel=0.05)


def test_bounds_fall_with_the_width_and_vanish_at_full_width():
    points = widths_of(Torus(4, 0.2, 0.5).finite)
    assert [point.k for point in points] == [1, 2, 4, 8, 16]
    for name in ("t4", "b1_prime", "b1_double_prime"):
        found = [values(point)[name] for point in points]
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(found))
        assert found[-1] == pytest.approx(0, abs=1e-6)
    assert points[-1].regret == pytest.approx(0, abs=1e-9)


def test_widths_of_a_world_whose_size_is_no_power_of_two():
    assert [point.k for point in widths_of(Torus(3).finite)] == [1, 2, 4, 8, 9]
    one = FAMILIES["single_state"](np.random.default_rng(0), 1)
    assert [(point.k, point.regret) for point in widths_of(one)] == [(1, 0.0)]


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_many_widths_at_once_are_the_same_widths_one_by_one(negatives):
    """One decomposition serves all: equal, not close, as each width is cut from the same singular vectors."""
    world = FAMILIES["low_rank_separate"](np.random.default_rng(3), 7)
    together = tightness_by_width(world, (5, 1, 3), negatives=negatives)
    assert together == tuple(tightness(world, k, negatives=negatives) for k in (5, 1, 3))


def test_b3_grows_linearly_with_the_horizon():
    world = Torus(3, 0.2, 0.5).finite
    points = [tightness(world, 4, PlanningProblem(horizon), names=MANY_STEPS) for horizon in (1, 2, 3)]
    found = [values(point)["b3"] for point in points]
    assert [value / found[0] for value in found] == pytest.approx([1, 2, 3])


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_the_regret_beside_the_bounds_is_of_their_own_model(negatives):
    """Pooled negatives make ‖GᵀF‖ > 1: B3 then does not apply, and nothing is clipped behind the reader's back."""
    generator = np.random.default_rng(0)
    applied = set()
    for _ in range(20):
        world = FAMILIES["low_rank_separate"](generator, 6)
        for point in widths_of(world, PlanningProblem(2), negatives):
            for bound in point.bounds:
                if bound.applies:
                    applied.add(bound.name)
                    assert point.regret <= bound.value + 1e-9
    assert {"b5", "b3_general"} <= applied


def test_unknown_bounds_are_refused():
    with pytest.raises(ValueError, match="no bound is called 'b9'"):
        tightness(Torus(3).finite, 2, names=("b9",))


def test_goals_out_of_reach_are_counted():
    world = Torus(4, 0.2, 0.0).finite
    near = tightness(world, 4, PlanningProblem(1, "uniform"))
    assert near.unreachable > 0.5
    assert tightness(world, 4, PlanningProblem(1, "reachable")).unreachable == pytest.approx(0, abs=1e-12)


def test_regret_and_bounds_are_of_the_density_planner():
    """Where the q_a differ the inner product plans worse; the table must not show its regret."""
    world = FAMILIES["dirichlet"](np.random.default_rng(1), 8)
    point = tightness(world, 8)
    assert point.regret == pytest.approx(0, abs=1e-9)
    assert all(bound.applies for bound in point.bounds)


def test_too_many_plans_are_refused():
    with pytest.raises(ValueError, match="shorter horizon"):
        widths_of(Torus(8).finite, PlanningProblem(9))


def test_the_survey_shows_what_the_theory_promises():
    done = []
    found = survey(2, 0, 2, done.append)
    assert sum(done) == 2 * 10 * 8
    best = found.torus_curve.widths[found.torus_curve.risk.argmin(1)]
    assert list(best) == sorted(best)
    assert best[-1] >= 3 * best[1] / 2 > 3 * best[0] / 2
    assert list(found.nuisance_curve.widths[found.nuisance_curve.regret.argmin(1)]) == [25, 25, 25]
    assert [point.states for point in found.by_states] == [16, 64, 144, 256, 400, 576]
