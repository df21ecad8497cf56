"""Every planner of conf/planner keeps its promises."""

import dataclasses

import pytest
import torch
import yaml

from jepa_scale.planners.base import DiscretePlanner, Planner, Search, plan, shifted
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import ActionSpace
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.runs.evaluate import evaluate
from jepa_scale.runs.instantiate import instantiate
from jepa_scale.runs.run import run
from jepa_scale.testing import check_planner

TASKS = 6
CONTINUOUS, DISCRETE = ActionSpace(None, 2, -1.0, 3.0), ActionSpace(4)


def leaf(name):
    return yaml.safe_load((conf_dir() / "planner" / f"{name}.yaml").read_text())


def built(name):
    return instantiate("planner", leaf(name))


NAMES = sorted(path.stem for path in (conf_dir() / "planner").glob("*.yaml"))
SEARCHES = [name for name in NAMES if isinstance(built(name), Search)]


@pytest.fixture(params=SEARCHES)
def planner(request):
    return built(request.param)


def space_of(planner):
    return DISCRETE if isinstance(planner, DiscretePlanner) else CONTINUOUS


def numbers_of(planner, seed=0):
    return planner.draw(TASKS, space_of(planner), torch.Generator().manual_seed(seed))


def quadratic(planner, seed=1):
    """Each task's own minimum (B, H, …), inside the limits or one of the actions, and the squares around it."""
    generator, space = torch.Generator().manual_seed(seed), space_of(planner)
    if space.discrete:
        minimum = torch.randint(space.count, (TASKS, planner.horizon), generator=generator).double()
    else:
        minimum = -0.6 + 3.2 * torch.rand(TASKS, planner.horizon, space.size, generator=generator)

    def cost(plans, tasks=slice(None)):
        return (plans - minimum[tasks, None]).square().flatten(2).sum(-1)

    return minimum, cost


@pytest.mark.parametrize("name", NAMES)
def test_a_leaf_is_one_kind_of_planner_and_writes_out_its_defaults(name):
    planner = built(name)
    assert isinstance(planner, Planner | DiscretePlanner | NoPlanner)
    hash(planner)
    written = {key: value for key, value in leaf(name).items() if key != "_target_"}
    assert set(written) == {field.name for field in dataclasses.fields(planner)}
    if isinstance(planner, DiscretePlanner):
        assert planner == type(planner)(**written)
        assert dataclasses.replace(planner, horizon=2).problem.horizon == 2
        with pytest.raises(ValueError, match="horizon"):
            dataclasses.replace(planner, horizon=0)
    compose([f"planner={name}", "world=point_mass" if isinstance(planner, Planner) else "world=torus"])


def test_some_search_continuous_actions_and_some_discrete_ones():
    kinds = {isinstance(built(name), DiscretePlanner) for name in SEARCHES}
    assert kinds == {True, False}


def test_the_contract_of_a_search(planner):
    check_planner(planner)


def test_a_good_plan_to_start_from_helps(planner):
    minimum, cost = quadratic(planner)
    numbers, space = numbers_of(planner), space_of(planner)
    warm = minimum.long() if space.discrete else minimum
    cold, helped = (plan(planner, cost, numbers, space, given) for given in (None, warm))
    assert float(cost(helped[:, None]).mean()) <= float(cost(cold[:, None]).mean())
    assert not torch.equal(cold, helped) or bool((cost(cold[:, None]) == 0).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_no_numbers_name_their_share(planner, value):
    def cost(plans):
        costs = plans.flatten(2).double().sum(-1)
        return torch.where(torch.arange(costs.shape[1]) < costs.shape[1] // 2, value, costs)

    with pytest.raises(ValueError, match=r"NaN or ∞ for 50\.0% of the candidates"):
        plan(planner, cost, numbers_of(planner), space_of(planner))


def test_what_is_left_of_a_plan_repeats_its_last_action():
    plans = torch.arange(12.0).view(2, 3, 2)
    assert shifted(plans).tolist() == [[[2, 3], [4, 5], [4, 5]], [[8, 9], [10, 11], [10, 11]]]
    assert shifted(torch.tensor([[1, 2, 3]])).tolist() == [[2, 3, 3]]


TINY = [
    "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=4", "data.n=200", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.k=4", "model.hidden=8", "evaluation.episodes=3",
]  # fmt: skip
PLACES = {
    "finite": ["world=torus", "world.side=3"],
    "simulated": [
        "world=point_mass", "evaluation.required_steps=[5]", "objective=latent", "model.normalise=true",
        "optimizer.base_k=null",
    ],
    "watched": ["world=two_rooms", "encoder=cnn", "objective=vicreg", "optimizer.base_k=null", "world.size=16"],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_run_with_it_ends_with_a_record_and_can_be_evaluated(name, tmp_path):
    """From the command's side: trained, recorded with its protocol, tried again with the same result."""
    planner = built(name)
    place = "watched" if isinstance(planner, NoPlanner) else "simulated" if isinstance(planner, Planner) else "finite"
    record = run(compose([*TINY, *PLACES[place], f"planner={name}"]), tmp_path / "run")
    assert record.status == "finished"
    kinds = {"watched": {"none"}, "simulated": {"tasks"}, "finite": {"exact", "pairs"}}
    assert record.protocol["kind"] in kinds[place]
    (found,) = evaluate([tmp_path / "run"])
    again = {row.name: row.value for row in found.record.estimates if row.name.startswith(("regret/", "success"))}
    assert bool(again) == (place != "watched")
    # Two ways of adding up floats: one by epoch on the training module, one on the module that was read back.
    assert again == pytest.approx({name: record.final[name] for name in again}, abs=1e-12)
