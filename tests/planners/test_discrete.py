"""Exhaustive, categorical and spectral planners on finite worlds, against slow references and against each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.planning import ends_of, regrets_of
from jepa_scale.callbacks.search import pairs_of, search_estimates, search_table
from jepa_scale.planners.categorical_cem import CategoricalCEM
from jepa_scale.planners.exhaustive import Exhaustive
from jepa_scale.planners.scores import best_plans
from jepa_scale.planners.spectral import Spectral
from jepa_scale.records import ActionSpace, Evaluation
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.theory.graph import negative_law
from jepa_scale.theory.model import TabularModel, least_squares_maps, truncated_svd
from jepa_scale.theory.planning import all_plans, plan_values
from jepa_scale.theory.rollout import OperatorRollOut, latent_scores, operator_scores
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus
from tests.reference import bounds as slow_bounds
from tests.reference import planners as slow
from tests.reference import worlds as reference

TORUS = Torus(side=4, slip=0.3, blur=0.5)


def linear_svd(world, k):
    """The truncated factorisation with a linear predictor, so that its latent can be rolled out."""
    encoder = truncated_svd(world, k).encoder
    return TabularModel.linear(encoder, least_squares_maps(world, encoder))


@pytest.mark.parametrize("k", [3, 16])
def test_exhaustive_density_at_one_step_is_the_argmax_of_the_models_kernel(k):
    world = TORUS.finite
    model = truncated_svd(world, k)
    law = negative_law(world, "same_action")
    kernel = law[:, None, :] * (model.predictor @ model.encoder.T)
    found = best_plans(
        "density", torch.as_tensor(model.predictor), torch.as_tensor(model.encoder), torch.as_tensor(law)
    )  # fmt: skip
    if k == 3:
        assert np.array_equal(found.numpy(), kernel.argmax(0))
        return
    # The true kernel, in which several actions can be best: any of them, to rounding.
    np.testing.assert_allclose(kernel, world.transition, atol=1e-12)
    taken = np.take_along_axis(world.transition, found.numpy()[None], 0)[0]
    np.testing.assert_allclose(taken, world.transition.max(0), atol=1e-12)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("horizon", [1, 2, 3, 4])
def test_spectral_is_exhaustive_search_over_products_of_operators(generator, horizon, negatives):
    world = reference.random_world(generator, states=5, actions=3)
    model = TabularModel(generator.normal(size=(5, 2)), generator.normal(size=(3, 5, 2)))
    table = operator_scores(world, model, horizon, negatives)
    rolled = OperatorRollOut.of(world, model, negatives)
    found = Spectral(horizon).choose(rolled, np.arange(5), np.arange(5))
    assert np.array_equal(found.index, table.argmax(0))
    np.testing.assert_allclose(found.score, table.max(0), rtol=1e-10)
    some = Spectral(horizon).choose(rolled, np.array([4, 1]), np.array([2]))
    assert np.array_equal(some.index, found.index[[4, 1]][:, [2]])
    kernels = slow_bounds.operators(world, model.encoder, model.predictor, negatives == "pooled")
    for start, goal in ((0, 1), (3, 3)):
        best = slow.best_by_operators(kernels, horizon, start, goal)
        assert found.score[start, goal] == pytest.approx(best, rel=1e-9)
        plan = all_plans(3, horizon)[found.index[start, goal]]
        assert rolled.score(start, plan.tolist(), goal) == pytest.approx(best, rel=1e-9)


def test_spectral_reaches_beyond_the_table_and_says_where_it_ends():
    world = TORUS.finite
    rolled = OperatorRollOut.of(world, truncated_svd(world, 8))
    found = Spectral(9).choose(rolled, np.array([0]), np.array([10]))
    plan = np.array(np.unravel_index(found.index[0, 0], (5,) * 9))
    assert rolled.score(0, plan.tolist(), 10) == pytest.approx(found.score[0, 0], rel=1e-10)
    assert found.score[0, 0] >= rolled.score(0, [0] * 9, 10)
    with pytest.raises(ValueError, match=r"5\^12 plans × 1 starts × 1 goals, 10\^8\.4 cells.*shorter horizon"):
        Spectral(12).choose(rolled, np.array([0]), np.array([10]))


def test_a_step_of_the_categorical_law_is_its_reference(generator):
    planner, space = CategoricalCEM(horizon=3, candidates=20, iterations=4, elites=4, floor=0.3), ActionSpace(4)
    weights = torch.as_tensor(generator.normal(size=(3, 4)))

    def cost(plans):
        return weights[torch.arange(3), plans].sum(-1)

    state = planner.init(1, space)
    law, tried = state.law[0].numpy().astype(float), []
    for uniforms in planner.draw(1, space, torch.Generator().manual_seed(0)):
        state = planner.step(state, cost, uniforms, space)
        law, best = slow.categorical_step(
            law, uniforms[0].numpy(), lambda plan: float(cost(torch.tensor(plan))), 4, 0.3
        )  # fmt: skip
        tried.append(best)
        np.testing.assert_allclose(state.law[0], law, atol=1e-6)
    assert tuple(planner.best(state)[0].tolist()) == min(tried, key=lambda plan: float(cost(torch.tensor(plan))))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("world", "horizon"), [(TORUS, 4), (Nuisance(Torus(5, 0.45, 0.0), 2), 3)], ids=["torus", "nuisance"]
)
@pytest.mark.parametrize("by", ["truth", "model"])
def test_categorical_cem_finds_99_percent_of_the_exhaustive_optimum(world, horizon, seed, by):
    """Mean over pairs of the value found (of the score where the model plans), over the best there is."""
    finite = world.finite
    planner = CategoricalCEM(horizon=horizon)
    assert planner.candidates == 64
    assert planner.iterations == 5
    known = Context(world, "same_action", planner, 4).exact
    starts, goals = pairs_of(known, 100)
    values = (
        plan_values(finite, horizon) if by == "truth" else operator_scores(finite, truncated_svd(finite, 12), horizon)
    )
    table = torch.as_tensor(values[:, starts, goals].T)
    found = table.gather(1, search_table(planner, table, world.action_space, seed)[:, None])
    assert float(found.mean() / table.amax(1).mean()) >= 0.99
    once = replace(planner, iterations=1, candidates=planner.candidates // 8)
    less = table.gather(1, search_table(once, table, world.action_space, seed)[:, None])
    assert float(less.mean()) < float(found.mean()), "the law, and not the draws alone, finds it"


def test_nobody_beats_exhaustive_search_on_the_true_kernel():
    horizon, world = 3, TORUS.finite
    values = plan_values(world, horizon)
    known = Context(TORUS, "same_action", Exhaustive(horizon), 4).exact
    exact = TabularModel(np.eye(16), world.transition / negative_law(world, "same_action")[:, None])
    chosen = Spectral(horizon).choose(OperatorRollOut.of(world, exact), np.arange(16), np.arange(16)).index
    best = values.max(0)
    taken = np.take_along_axis(values, chosen[None], 0)[0]
    np.testing.assert_allclose(taken, best, atol=1e-12)
    starts, goals = pairs_of(known, 200)
    table = torch.as_tensor(values[:, starts, goals].T)
    for seed in range(3):
        found = search_table(CategoricalCEM(horizon=horizon, candidates=16), table, TORUS.action_space, seed)
        lost = table.amax(1) - table.gather(1, found[:, None])[:, 0]
        assert float(lost.min()) >= 0.0
    for score in ("distance", "inner", "density"):
        picked = latent_scores(world, linear_svd(world, 6), horizon, score).argmax(0)
        assert (np.take_along_axis(values, picked[None], 0)[0] <= best + 1e-12).all()


def test_pairs_follow_the_law_of_starts_and_goals_and_fewer_are_a_prefix(generator):
    known = Context(TORUS, "same_action", CategoricalCEM(horizon=2), 4).exact
    starts, goals = pairs_of(known, 20_000)
    few = pairs_of(known, 7)
    assert np.array_equal(few[0], starts[:7])
    assert np.array_equal(few[1], goals[:7])
    expected = TORUS.finite.context_law[:, None] * known.truth.constants.goals
    counted = np.zeros_like(expected)
    np.add.at(counted, (starts, goals), 1 / 20_000)
    # Five standard errors of the most frequent pair, √(p / n).
    assert np.abs(counted - expected).max() < 5 * np.sqrt(expected.max() / 20_000)
    assert not counted[expected == 0].any()


SMALL = ["world=torus", "world.side=4", "model.k=6", "model.hidden=16", "logger=none", "planner.horizon=2"]


def test_the_spectral_planner_logs_its_operator_beside_the_latent_scores():
    parts = build(compose([*SMALL, "planner=spectral"]))
    same = build(compose([*SMALL, "planner=exhaustive"]))
    found = regrets_of(parts.context.exact, parts.module)
    assert sorted(found) == ["density", "distance", "inner", "operator"]
    latent = regrets_of(same.context.exact, same.module)
    assert {name: found[name].value for name in latent} == {name: one.value for name, one in latent.items()}
    one_step = build(compose([*SMALL, "planner=spectral", "planner.horizon=1"]))
    found = regrets_of(one_step.context.exact, one_step.module)
    assert found["operator"].value == pytest.approx(found["density"].value, abs=1e-9)


def test_a_search_logs_its_regret_and_that_of_all_plans_on_the_same_pairs():
    parts = build(compose([*SMALL, "planner=categorical_cem", "planner.candidates=256", "evaluation.episodes=400"]))
    known, planner = parts.context.exact, parts.context.planner
    ends = ends_of(known, parts.module)
    rows = {row.name: row for row in search_estimates(known, planner, ends, parts.context.evaluation, 0, 1)}
    assert sorted(rows) == ["regret/density", "regret/exhaustive"]
    assert all(row.n == 400 and row.standard_error > 0 for row in rows.values())
    # 25 plans, 256 candidates: the search sees them all.
    assert rows["regret/density"].value == pytest.approx(rows["regret/exhaustive"].value, abs=1e-12)
    everywhere = regrets_of(known, parts.module)["density"].value
    assert abs(rows["regret/exhaustive"].value - everywhere) < 5 * rows["regret/exhaustive"].standard_error
    again = search_estimates(known, planner, ends, parts.context.evaluation, 0, 1)
    assert [row.value for row in again] == [row.value for row in rows.values()]
    weak = replace(planner, candidates=1, iterations=1, elites=1)
    worse = {row.name: row.value for row in search_estimates(known, weak, ends, Evaluation(400), 0, 1)}
    assert worse["regret/exhaustive"] == rows["regret/exhaustive"].value
    assert worse["regret/density"] != rows["regret/density"].value


@pytest.mark.parametrize(
    ("planner", "settings", "message"),
    [
        (CategoricalCEM(), {"elites": 65}, "as many candidates as elites"),
        (CategoricalCEM(), {"iterations": 0}, "iterations"),
        (CategoricalCEM(), {"floor": 0.0}, "floor > 0"),
        (CategoricalCEM(), {"score": "operator"}, "expected a score from"),
        (CategoricalCEM(), {"horizon": 0}, "horizon=0"),
        (Spectral(), {"score": "density"}, "score=operator"),
        (Spectral(), {"horizon": 0}, "horizon=0"),
    ],
)
def test_bad_settings_are_refused(planner, settings, message):
    with pytest.raises(ValueError, match=message):
        replace(planner, **settings)


def test_a_categorical_law_needs_discrete_actions():
    with pytest.raises(ValueError, match="planner=cem"):
        CategoricalCEM().init(1, ActionSpace(None, 2))
