"""Receding-horizon control, and success with a model that is perfect."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.references import reference_jobs
from jepa_scale.callbacks.success import success_estimates, tried
from jepa_scale.callbacks.tasks import trial_of
from jepa_scale.objectives.latent import LatentPrediction
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.costs import CostTerms
from jepa_scale.planners.gradient import Gradient
from jepa_scale.planners.icem import ICEM
from jepa_scale.planners.mppi import MPPI
from jepa_scale.planners.receding import EpisodeOutcome, answering, at_random, control, control_jobs, doing_nothing, run
from jepa_scale.records import Evaluation
from jepa_scale.training.optim import AdamWOneCycle
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.worlds.point_mass import PointMass
from jepa_scale.worlds.simulator import Tasks

WORLD = PointMass(nuisance_size=2, noise_size=1)
PLANNER = CEM(candidates=32, iterations=2, elites=4)
EVALUATION = Evaluation(episodes=5)


def tasks_of(world, evaluation):
    return trial_of(world, evaluation).drawn


def cost_of(tasks, world=WORLD):
    """True dynamics, distances of positions: what the reference planner does, written out."""

    def make(states, observed, active):
        def cost(plans):
            here = states[:, None].expand(-1, plans.shape[1], -1)
            for action in plans.unbind(2):
                here = world.step(here, action, torch.zeros(*plans.shape[:2], 0))
            return world.distance(here, tasks.goals[active, None])

        return cost

    return make


def equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("ever", "final", "first", "steps"))


def test_the_same_seed_gives_the_same_outcomes():
    tasks = tasks_of(WORLD, EVALUATION)
    one, again = (control(WORLD, tasks, PLANNER, cost_of(tasks), 3) for _ in range(2))
    assert equal(one, again)
    assert equal(at_random(WORLD, tasks, 3), at_random(WORLD, tasks, 3))
    assert not torch.equal(control(WORLD, tasks, PLANNER, cost_of(tasks), 4).first, one.first)


def test_the_outcome_of_a_task_does_not_depend_on_the_others():
    """Others that end at once, or never; and all but some left out."""
    tasks = tasks_of(WORLD, EVALUATION)
    whole = control(WORLD, tasks, PLANNER, cost_of(tasks), 3)
    kept = torch.tensor([1, 7, 12])
    for others in (tasks.starts, tasks.starts + 100):
        goals = others.clone()
        goals[kept] = tasks.goals[kept]
        changed = Tasks(tasks.starts, goals, tasks.required_steps, tasks.budgets, tasks.levels)
        found = control(WORLD, changed, PLANNER, cost_of(changed), 3)
        assert torch.equal(found.ever[kept], whole.ever[kept])
        assert torch.equal(found.first[kept], whole.first[kept])
    few = control(WORLD, tasks, PLANNER, cost_of(tasks), 3, kept)
    for name in ("ever", "final", "first", "steps"):
        assert torch.equal(getattr(few, name), getattr(whole, name)[kept]), name


def test_episodes_run_on_to_their_budget_or_stop_at_the_goal():
    tasks = tasks_of(WORLD, EVALUATION)
    started = WORLD.distance(tasks.starts, tasks.goals) <= WORLD.tolerance
    assert 0 < started.sum() < len(tasks)
    on, stopped = (control(WORLD, tasks, PLANNER, cost_of(tasks), 3, stop_at_goal=stop) for stop in (False, True))
    assert torch.equal(on.steps, tasks.budgets)
    assert torch.equal(stopped.steps, torch.where(stopped.ever, stopped.first, tasks.budgets))
    assert torch.equal(on.ever, stopped.ever), "what comes after the goal does not change whether it was reached"
    assert torch.equal(on.first, stopped.first)
    assert stopped.final is None, "nobody knows whether an episode that was ended would have stayed"
    assert (on.ever >= on.final).all()
    assert on.ever.any()
    least = torch.ceil(tasks.required_steps * 0.5)
    assert (on.first[on.ever & ~started] >= least[on.ever & ~started]).all(), "nobody is there in half the steps"
    still = doing_nothing(WORLD, tasks, 0)
    assert torch.equal(still.ever, started), "goals one step away are reached by standing still"
    assert torch.equal(still.final, started)
    assert torch.equal(still.first, started.long())


def test_who_passes_through_the_goal_has_been_there_and_is_not_at_the_end():
    """Full acceleration to the right from rest: 0.01, 0.029, … and on; one goal on the way, one never reached."""
    starts = torch.zeros(2, 4)
    goals = torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.0]])
    tasks = Tasks(starts, goals, torch.tensor([8, 8]), torch.tensor([14, 14]), (8,))

    def right(states, active):
        return torch.tensor([1.0, 0.0]).expand(len(active), -1)

    found = run(WORLD, tasks, right, torch.Generator())
    place, speed, first = 0.0, 0.0, None
    for step in range(1, 15):
        speed = 0.9 * speed + 0.1
        place += 0.1 * speed
        first = first or (step if abs(place - 0.3) <= 0.08 else None)
    assert abs(place - 0.3) > 0.08
    assert found.ever.tolist() == [True, False]
    assert found.final.tolist() == [False, False]
    assert found.first.tolist() == [first, 0]
    assert run(WORLD, tasks, right, torch.Generator(), stop_at_goal=True).steps.tolist() == [first, 14]


@pytest.mark.parametrize("pairs", [1, 4])
def test_blocks_of_tasks_do_as_well_as_all_at_once(pairs):
    """With numbers in the cost too: each block begins them anew."""
    tasks = tasks_of(WORLD, EVALUATION)

    def begin():
        generator = torch.Generator().manual_seed(5)

        def make(states, observed, active):
            exact = cost_of(tasks)(states, observed, active)
            return lambda plans: exact(plans) + 0.05 * torch.randn(len(tasks), 32, generator=generator)[active]

        return make

    def in_blocks(*settings):
        return EpisodeOutcome.joined([job() for job in control_jobs(WORLD, tasks, PLANNER, *settings)])

    chosen = torch.tensor([2, 5, 9, 14, 20, 21, 29])
    whole = in_blocks(begin, 3, chosen)
    assert equal(in_blocks(begin, 3, chosen, pairs), whole)
    shared = begin()
    assert not equal(in_blocks(lambda: shared, 3, chosen, pairs), whole), "numbers matter"


def test_true_state_and_dynamics_solve_every_difficulty():
    evaluation = Evaluation(episodes=10)
    world = PointMass()
    jobs, trial = reference_jobs(world, CEM(), evaluation)["oracle"], trial_of(world, evaluation)
    oracle = EpisodeOutcome.joined([job() for job in jobs])
    reached, levels = oracle.ever & oracle.final, trial.drawn.required_steps[trial.kept]
    assert trial.removed() == trial.removed(1) == 10, "a goal one step away lies within the tolerance"
    for level in world.default_required_steps[1:]:
        assert float(reached[levels == level].float().mean()) == 1.0, level


class _State(nn.Module):
    def forward(self, observations):
        return observations[..., :4]


class _Simulator(nn.Module):
    def forward(self, latents, actions):
        return WORLD.step(latents, actions, torch.zeros(*latents.shape[:-1], 0))


@pytest.mark.parametrize("same_cost_episodes", [None, 2])
@pytest.mark.parametrize("path", [False, True])
def test_a_perfect_model_loses_nothing_by_predicting(same_cost_episodes, path):
    """Exactly: the same costs on the same numbers, of all tasks or of the first few of each difficulty."""
    planner = replace(PLANNER, cost=CostTerms(final=float(not path), path=float(path)))
    evaluation = Evaluation(episodes=4, same_cost_episodes=same_cost_episodes)
    module = Pretrain(_State(), _Simulator(), LatentPrediction(nn.Identity()), AdamWOneCycle(), step_axis=-2)
    rows = {row.name: row for row in success_estimates(Context(WORLD, "pooled", planner, 4, evaluation), module, 0, 1)}
    assert rows["regret/dynamics"].value == 0.0
    assert rows["regret/dynamics"].standard_error == 0.0
    # Goals one step away are removed.
    shared = (same_cost_episodes or 4) * (len(WORLD.default_required_steps) - 1)
    assert rows["regret/dynamics"].n == rows["success/same_cost"].n == shared
    if same_cost_episodes is None:
        assert rows["success/model"].value == rows["success/same_cost"].value
    parts = rows["regret/geometry"].value + rows["regret/dynamics"].value
    if same_cost_episodes is None:
        assert rows["regret/distance"].value == pytest.approx(parts, abs=1e-12)


def test_a_model_that_does_not_predict_does():
    """The control of the test above: the identity for a predictor."""

    class Still(nn.Module):
        def forward(self, latents, actions):
            return latents

    module = Pretrain(_State(), Still(), LatentPrediction(nn.Identity()), AdamWOneCycle(), step_axis=-2)
    rows = {row.name: row for row in success_estimates(Context(WORLD, "pooled", PLANNER, 4, EVALUATION), module, 0, 1)}
    assert rows["regret/dynamics"].value > 0.3


def test_removed_starts_do_not_shift_the_others():
    """The same tasks, the same numbers, the same outcomes, whether or not those that start solved are counted."""
    found = {}
    for keep in (False, True):
        evaluation = replace(EVALUATION, keep_solved=keep)
        module = Pretrain(_State(), _Simulator(), LatentPrediction(nn.Identity()), AdamWOneCycle(), step_axis=-2)
        found[keep] = tried(Context(WORLD, "pooled", PLANNER, 4, evaluation), module)
    kept, trial = found[False].trial.kept, found[True].trial
    solved = WORLD.distance(trial.drawn.starts, trial.drawn.goals) <= WORLD.tolerance
    assert torch.equal(kept, torch.nonzero(~solved).flatten())
    assert len(trial.kept) == len(solved)
    assert trial.removed() == 0
    for policy, outcome in found[False].outcomes.items():
        for name in ("ever", "final", "first", "steps"):
            assert torch.equal(getattr(outcome, name), getattr(found[True].outcomes[policy], name)[kept]), (
                policy,
                name,
            )


def test_answers_are_executed_by_their_first_action():
    tasks = tasks_of(WORLD, EVALUATION)
    plans = torch.tensor([[0.5, -0.25], [-1.0, 1.0], [1.0, 1.0]])
    seen = []

    def answer(observed, active):
        seen.append((observed.shape, len(active)))
        return plans.expand(len(active), -1, -1)

    found = answering(WORLD, tasks, answer, 3)
    always = run(WORLD, tasks, lambda states, active: plans[0].expand(len(active), -1), torch.Generator())
    assert equal(found, always)
    assert seen[0] == ((len(tasks), *WORLD.observation_shape), len(tasks))


def test_a_search_can_start_from_an_answer():
    tasks = tasks_of(WORLD, EVALUATION)
    began = []

    class Spy(CEM):
        def init(self, tasks, space, device="cpu", warm=None):
            began.append(warm)
            return super().init(tasks, space, device, warm)

    planner = Spy(candidates=16, iterations=1, elites=2)
    control(
        WORLD, tasks, planner, cost_of(tasks), 3, answer=lambda observed, active: torch.full((len(active), 3, 2), 0.25)
    )
    assert len(began) > 3
    assert all(bool((warm == 0.25).all()) for warm in began)


def test_a_warm_start_begins_at_what_is_left_of_the_last_plan():
    tasks = tasks_of(WORLD, EVALUATION)
    began, made = [], []

    class Spy(CEM):
        def init(self, tasks, space, device="cpu", warm=None):
            began.append(warm)
            return super().init(tasks, space, device, warm)

        def best(self, state):
            made.append(state.mean)
            return state.mean

    kept = torch.tensor([14, 29])
    control(WORLD, tasks, Spy(candidates=16, iterations=1, elites=2, warm_start=True), cost_of(tasks), 3, kept)
    assert began[0] is None
    same = [(now, before) for now, before in zip(began[1:], made, strict=False) if len(now) == len(before)]
    assert len(same) > 3
    for now, before in same:
        assert torch.equal(now[:, :-1], before[:, 1:])
        assert torch.equal(now[:, -1], before[:, -1])
    began.clear()
    control(WORLD, tasks, Spy(candidates=16, iterations=1, elites=2), cost_of(tasks), 3, kept)
    assert began == [None] * len(began)


@pytest.mark.parametrize(
    "planner", [ICEM(warm_start=True), MPPI(warm_start=True), Gradient(iterations=20)], ids=["icem", "mppi", "gradient"]
)
def test_every_planner_solves_near_tasks_with_true_dynamics(planner):
    """Also a perfect model with gradients, inside the callback's no_grad: it loses nothing by predicting."""
    evaluation = Evaluation(episodes=4, required_steps=(5, 10))
    module = Pretrain(_State(), _Simulator(), LatentPrediction(nn.Identity()), AdamWOneCycle(), step_axis=-2)
    rows = {row.name: row for row in success_estimates(Context(WORLD, "pooled", planner, 4, evaluation), module, 0, 1)}
    assert rows["success/oracle"].value == 1.0
    assert rows["regret/dynamics"].value == 0.0
