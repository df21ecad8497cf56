"""The exact learner beside a study's networks: where it is defined, and that it is the theory's."""

import numpy as np
import pytest

from jepa_scale.runs.config import compose
from jepa_scale.studies.exact_learner import exact_learner
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import learning_curve
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus

SMALL = ["world=nuisance", "world.hidden.side=3", "world.observations_per_state=4", "logger=none"]
THEORY = ["planner.score=density", "objective.negatives=pooled"]


def test_it_is_the_learner_of_the_theory_in_the_study_s_world():
    config = compose([*SMALL, *THEORY])
    found = exact_learner(config, (1000, 300), (2, 9, 1000))
    assert (found.sizes, found.widths, found.datasets) == ((300, 1000), (2, 9), 3), "no width beyond the world's"
    hidden = config["world"]["hidden"]
    torus = Torus(3, hidden["slip"], hidden["blur"])
    world = Nuisance(torus, observations_per_state=4).finite
    problem = PlanningProblem(1, config["planner"]["goal_law"])
    curve = learning_curve(world, problem, (300, 1000), (2, 9), 3, np.random.default_rng(0), fit_shared)
    assert np.array_equal(found.regret, curve.regret)
    assert found.regret[1].min() < found.regret[0].min(), "more data help"


@pytest.mark.parametrize(
    "change",
    [
        [*THEORY, "planner.score=distance"],
        [*THEORY, "planner.horizon=2"],
        [*THEORY, "world.observations_per_state=64"],
        ["planner.score=density", "objective=vicreg"],
    ],
)
def test_there_is_none_where_the_networks_do_not_approximate_it(change):
    assert exact_learner(compose([*SMALL, *change]), (300,), (2,)) is None
