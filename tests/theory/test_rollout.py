import itertools

import numpy as np
import pytest
import torch

from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.model import TabularModel
from jepa_scale.theory.planning import all_plans, plan_values
from jepa_scale.theory.rollout import OperatorRollOut, latent_roll_out, latent_scores, operator_scores
from jepa_scale.theory.scores import SCORES
from tests.reference import bounds as slow
from tests.reference import worlds as reference


def linear_model(generator, states, actions, k):
    return TabularModel.linear(generator.normal(size=(states, k)), generator.normal(size=(actions, k, k)))


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_operator_scores_are_products_of_one_step_operators(generator, horizon, negatives):
    world = reference.random_world(generator, states=4, actions=2)
    model = linear_model(generator, 4, 2, 3)
    one_step = slow.operators(world, model.encoder, model.predictor, negatives == "pooled")
    scores = operator_scores(world, model, horizon, negatives)
    for index, plan in enumerate(all_plans(2, horizon)):
        product = np.eye(4)
        for action in plan:
            product = product @ one_step[action]
        np.testing.assert_allclose(scores[index], product, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_one_plan_at_a_time_is_the_table(generator, negatives):
    world = reference.random_world(generator, states=4, actions=3)
    model = linear_model(generator, 4, 3, 2)
    rolled = OperatorRollOut.of(world, model, negatives)
    for horizon in (1, 2, 3):
        table = operator_scores(world, model, horizon, negatives)
        for index, plan in enumerate(all_plans(3, horizon)):
            assert rolled.score(1, plan.tolist(), 2) == pytest.approx(table[index, 1, 2], rel=1e-10)
    assert np.isfinite(rolled.score(0, [0, 1] * 30, 3))
    for plan in ([], [3], [0, -1]):
        with pytest.raises(ValueError, match=r"actions in 0 … 2"):
            rolled.score(0, plan, 0)


def test_operator_roll_out_of_an_exact_model_is_the_truth(generator):
    world = reference.random_world(generator, states=5, actions=2)
    _, law = reference.normalised_co_occurrence(world, False)
    exact = TabularModel(np.eye(5), world.transition / law[:, None, :])
    np.testing.assert_allclose(operator_scores(world, exact, 3), plan_values(world, 3), atol=1e-12)


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("score", sorted(SCORES))
def test_latent_scores_by_rolling_one_start_at_a_time(generator, horizon, score):
    world = reference.random_world(generator, states=3, actions=2)
    _, law = reference.normalised_co_occurrence(world, False)
    model = linear_model(generator, 3, 2, 2)
    scores = latent_scores(world, model, horizon, score)
    for (index, plan), start, goal in itertools.product(enumerate(all_plans(2, horizon)), range(3), range(3)):
        latent, target = model.encoder[start], model.encoder[goal]
        for action in plan:
            latent = model.maps[action] @ latent
        expected = {
            "distance": -((latent - target) ** 2).sum(),
            "inner": latent @ target,
            "density": law[plan[-1], goal] * (latent @ target),
        }[score]
        assert scores[index, start, goal] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("score", sorted(SCORES))
def test_scores_of_arrays_and_of_tensors_are_the_same(generator, score):
    arguments = (generator.normal(size=(4, 5, 3)), generator.normal(size=(6, 3)), generator.random((4, 6)))
    tensors = SCORES[score](*(torch.as_tensor(one) for one in arguments))
    np.testing.assert_allclose(tensors.numpy(), SCORES[score](*arguments), rtol=1e-12)


def test_a_predictor_known_on_observations_only_cannot_be_rolled_out(generator):
    model = TabularModel(generator.normal(size=(3, 2)), generator.normal(size=(2, 3, 2)))
    assert latent_roll_out(model, 1) is model.predictor
    with pytest.raises(ValueError, match="plan with the operator roll-out"):
        latent_roll_out(model, 2)


def test_too_many_plans_are_refused_before_they_are_made(generator):
    states = 200
    world = FiniteWorld(
        np.full((5, states, states), 1 / states), np.full(states, 1 / states), np.full(5, 0.2), np.arange(states)
    )
    model = linear_model(generator, states, 5, 2)
    for roll_out in (lambda: latent_scores(world, model, 30, "inner"), lambda: operator_scores(world, model, 30)):
        with pytest.raises(ValueError, match=r"5\^30 plans × 200² .* more than 6e\+07: choose a shorter horizon"):
            roll_out()
