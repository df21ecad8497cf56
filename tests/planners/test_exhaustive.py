import itertools

import numpy as np
import pytest
import torch

from jepa_scale.planners.exhaustive import Exhaustive, roll_out_all
from jepa_scale.planners.scores import best_plans
from jepa_scale.theory.planning import all_plans


def linear_model(generator, actions=3, k=2):
    operators = torch.as_tensor(generator.normal(size=(actions, k, k)))

    def predict(latents, choice):
        return torch.einsum("...ij,...j->...i", operators[choice], latents)

    return operators, predict


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_roll_out_applies_the_actions_of_each_plan_in_order(generator, horizon):
    operators, predict = linear_model(generator)
    starts = torch.as_tensor(generator.normal(size=(4, 2)))
    reached = roll_out_all(predict, starts, 3, horizon)
    for plan, found in zip(all_plans(3, horizon), reached, strict=True):
        expected = starts
        for action in plan:
            expected = expected @ operators[action].T
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("score", ["distance", "inner", "density"])
def test_scores_choose_what_their_definition_says(generator, score):
    reached = torch.as_tensor(generator.normal(size=(3, 4, 2)))
    goals = torch.as_tensor(generator.normal(size=(5, 2)))
    law = torch.as_tensor(generator.dirichlet(np.ones(5), size=3))
    found = best_plans(score, reached, goals, law)
    for start, goal in itertools.product(range(4), range(5)):
        values = {
            "distance": [-float(((reached[p, start] - goals[goal]) ** 2).sum()) for p in range(3)],
            "inner": [float(reached[p, start] @ goals[goal]) for p in range(3)],
            "density": [float(law[p, goal] * (reached[p, start] @ goals[goal])) for p in range(3)],
        }[score]
        assert found[start, goal] == int(np.argmax(values))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="horizon=0"):
        Exhaustive(horizon=0)
    with pytest.raises(ValueError, match="cosine"):
        Exhaustive(score="cosine")
