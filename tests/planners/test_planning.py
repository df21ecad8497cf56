"""Planning with any model that encodes, embeds actions and predicts."""

import pytest
import torch
from torch import nn

from jepa_scale.planners.categorical_cem import CategoricalCEM
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.costs import CostTerms
from jepa_scale.planners.gradient import Gradient
from jepa_scale.planners.icem import ICEM
from jepa_scale.planners.mppi import MPPI
from jepa_scale.planners.planning import plan_with, predicted_cost
from jepa_scale.records import ActionSpace
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose

SPACE = ActionSpace(None, 2)


class Model(nn.Module):
    """A small network; ``seen`` holds the dtype of its last layer and the pairs of every prediction."""

    def __init__(self, actions=2):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.encoder, self.embedder = nn.Linear(5, 8), nn.Linear(actions, 6)
            self.body = nn.Sequential(nn.Linear(14, 64), nn.ReLU(), nn.Linear(64, 8))
        self.seen = []

    def encode(self, observations):
        return self.encoder(observations)

    def embed_action(self, actions):
        return self.embedder(actions if actions.is_floating_point() else nn.functional.one_hot(actions, 3).float())

    def predict(self, latents, actions):
        moved = self.body(torch.cat([latents, actions], dim=-1))
        self.seen.append((moved.dtype, len(moved)))
        return latents + 0.3 * moved


def observations(seed, count=6):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


PLANNERS = [CEM(horizon=4, cost=CostTerms(path=0.5)), ICEM(horizon=4), MPPI(horizon=4), Gradient(horizon=4)]


def close(one, other):
    """Rounding of 1e-6 in a cost can swap two elites, but only such that are worth the same."""
    torch.testing.assert_close(one.costs, other.costs, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.plans, other.plans, atol=5e-2, rtol=0)


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda one: type(one).__name__)
def test_pairs_at_a_time_do_not_change_the_plans(planner):
    model, args = Model(), (observations(0), observations(1), SPACE, 7)
    whole, one, four = (plan_with(model, planner, *args, pairs=pairs) for pairs in (6, 1, 4))
    assert {rows for _, rows in model.seen[-20:]} <= {2, 4}
    close(one, whole)
    close(four, whole)
    few = plan_with(model, planner, observations(0)[:2], observations(1)[:2], SPACE, 7, pairs=1)
    assert torch.equal(few.plans, one.plans[:2]), "whoever else plans"
    assert not torch.equal(plan_with(model, planner, *args[:3], 8, pairs=1).plans, one.plans)


def test_blocks_fit_a_cache_unless_told_otherwise():
    model, args = Model(), (observations(0), observations(1), SPACE, 7)
    for candidates, pairs in ((512, 1), (256, 2), (64, 6), (2000, 1)):
        model.seen.clear()
        plan_with(model, CEM(candidates=candidates, elites=4, iterations=1), *args)
        assert {rows for _, rows in model.seen} == {pairs}


def test_costs_are_those_of_the_plans_and_better_than_standing_still():
    model, planner = Model(), CEM(horizon=4, candidates=256, iterations=6, cost=CostTerms(final=1.0, inner=0.1))
    found = plan_with(model, planner, observations(0), observations(1), SPACE, 0)
    with torch.no_grad():
        latents, goals = model.encode(observations(0)), model.encode(observations(1))
        for i in range(6):
            here = latents[i]
            for action in found.plans[i]:
                here = model.predict(here, model.embed_action(action))
            expected = (here - goals[i]).square().sum() - 0.1 * (here @ goals[i])
            torch.testing.assert_close(found.costs[i], expected, atol=1e-5, rtol=1e-5)
        still = predicted_cost(model, planner, SPACE, latents, goals)(torch.zeros(6, 1, 4, 2))[:, 0]
    assert (found.costs < still).all()


def test_bfloat16_rolls_out_in_it_and_its_costs_are_told_in_float32():
    model, planner = Model(), CEM(horizon=4, candidates=256, iterations=6)
    args = (observations(0), observations(1), SPACE, 0)
    full = plan_with(model, planner, *args)
    assert {dtype for dtype, _ in model.seen} == {torch.float32}
    model.seen.clear()
    half = plan_with(model, planner, *args, precision="bfloat16")
    # Three blocks of two pairs: 6 iterations of 4 steps each, then what the chosen plans cost.
    assert [dtype for dtype, _ in model.seen] == ([torch.bfloat16] * 24 + [torch.float32] * 4) * 3
    assert half.costs.dtype == torch.float32
    assert not torch.equal(half.plans, full.plans)
    lost = half.costs - full.costs
    # bfloat16 keeps 8 bits: squares of distances are off by about a percent of the squares of the latents.
    assert float(lost.abs().max()) < 0.05 * float(model.encode(observations(1)).detach().square().sum(-1).mean())


def test_discrete_actions_take_the_same_way():
    model, planner = Model(actions=3), CategoricalCEM(horizon=3, candidates=64, iterations=4, score="distance")
    found = plan_with(model, planner, observations(0), observations(1), ActionSpace(3), 0)
    assert found.plans.shape == (6, 3)
    with torch.no_grad():
        cost = predicted_cost(
            model, planner, ActionSpace(3), model.encode(observations(0)), model.encode(observations(1))
        )
        every = cost(torch.cartesian_prod(*[torch.arange(3)] * 3).expand(6, -1, -1))
    # 27 plans and 256 draws.
    torch.testing.assert_close(found.costs, every.amin(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("predictor", ["gru", "transformer"])
def test_a_model_that_was_trained_here_can_be_planned_with(predictor):
    small = [
        "world=point_mass",
        "planner=cem",
        "objective=latent",
        f"predictor={predictor}",
        "model.k=4",
        "model.hidden=16",
    ]
    parts = build(
        compose([*small, "data.n=300", "data.heldout=700", "data.test=700", "optimizer.base_k=null", "logger=none"])
    )
    module, shape = parts.module.eval(), parts.context.world.observation_shape
    starts, goals = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    found = plan_with(module, parts.context.planner, starts, goals, parts.context.world.action_space, 0)
    with torch.no_grad():
        reached = module.roll_out(module.encode(starts), found.plans)[:, -1]
        expected = (reached - module.encode(goals)).square().sum(-1)
    torch.testing.assert_close(found.costs, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goals": torch.zeros(5, 5)}, "one goal for each observation, got 6 and 5"),
        ({"pairs": 0}, "pairs=0"),
        ({"precision": "float16"}, "float32 or bfloat16"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"goals": observations(1), **change}
    with pytest.raises(ValueError, match=message):
        plan_with(Model(), CEM(), observations(0), space=SPACE, seed=0, **given)


def test_the_docstrings_example_holds():
    import doctest

    from jepa_scale.planners import planning

    done = doctest.testmod(planning)
    assert done.attempted > 0
    assert done.failed == 0
