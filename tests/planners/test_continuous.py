"""CEM, iCEM, MPPI and gradient: single steps against slow references, and a convex problem whose optimum is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.planners.base import plan
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.gradient import Gradient
from jepa_scale.planners.icem import ICEM, coloured
from jepa_scale.planners.mppi import MPPI
from jepa_scale.records import ActionSpace
from tests.reference import planners as slow

SPACE = ActionSpace(None, 2, -1.0, 1.0)
H = 6


class PointMass:
    """Damped point masses s = (position, velocity) with accelerations in a box; squares of the end and of actions."""

    def __init__(self, tasks=8, effort=0.05):
        generator = np.random.default_rng(7)
        self.starts = np.concatenate([generator.uniform(-1, 1, (tasks, 2)), generator.normal(0, 0.2, (tasks, 2))], 1)
        # Some goals are out of reach: there the box binds.
        self.goals = self.starts[:, :2] + generator.uniform(-3.0, 3.0, (tasks, 2))
        step = np.block([[np.eye(2), 0.3 * np.eye(2)], [np.zeros((2, 2)), 0.9 * np.eye(2)]])
        push = np.concatenate([0.09 * np.eye(2), 0.3 * np.eye(2)])
        # Position after H steps: free + Σ_t maps[t] a_t.
        maps = [(np.linalg.matrix_power(step, H - 1 - t) @ push)[:2] for t in range(H)]
        self.maps, self.effort = np.stack(maps), effort
        self.free = self.starts @ np.linalg.matrix_power(step, H).T[:, :2]

    def cost(self, plans, tasks=slice(None)):
        """(B, candidates, H, 2) → (B, candidates)"""
        maps, aim = torch.as_tensor(self.maps).to(plans), torch.as_tensor(self.goals - self.free).to(plans)
        short = torch.einsum("tij,bctj->bci", maps, plans) - aim[tasks, None]
        return short.square().sum(-1) + self.effort * plans.square().sum((-2, -1))

    def optimum(self):
        """Minimum of each task by projected gradient in float64, (B,), and its plans."""
        wide = self.maps.transpose(1, 0, 2).reshape(2, -1)
        curvature = 2 * (np.linalg.norm(wide, 2) ** 2 + self.effort)
        plans = []
        for aim in self.goals - self.free:
            plans.append(
                slow.projected_gradient(
                    lambda a, aim=aim: 2 * (wide.T @ (wide @ a - aim) + self.effort * a),
                    curvature, np.zeros(2 * H), -1.0, 1.0, steps=3000,
                )
            )  # fmt: skip
        found = torch.as_tensor(np.stack(plans)).view(-1, 1, H, 2)
        return self.cost(found)[:, 0], found[:, 0]


PLANNERS = {
    "cem": CEM(horizon=H, candidates=256, iterations=12, elites=24, floor=0.01),
    "icem": ICEM(horizon=H, candidates=256, iterations=12, elites=24, floor=0.01, exponent=1.0),
    "mppi": MPPI(horizon=H, candidates=256, iterations=12, floor=0.01),
    "gradient": Gradient(horizon=H, restarts=4, iterations=60),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", PLANNERS)
def test_99_percent_of_what_can_be_gained_on_a_convex_problem(name, seed):
    """Of the cost that separates doing nothing (the first guess) from the constrained optimum, summed over tasks."""
    problem, planner = PointMass(), PLANNERS[name]
    least, best = problem.optimum()
    assert float((best.abs() > 1 - 1e-9).float().mean()) > 0.1, "the box binds"
    assert float((best.abs() < 0.99).float().mean()) > 0.1, "not everywhere"
    drawn = planner.draw(8, SPACE, torch.Generator().manual_seed(seed))
    found = problem.cost(plan(planner, problem.cost, drawn, SPACE)[:, None].double())[:, 0]
    nothing = problem.cost(torch.zeros(8, 1, H, 2, dtype=torch.float64))[:, 0]
    assert (found >= least - 1e-9).all(), "nobody beats the optimum"
    gained = float((nothing - found).sum() / (nothing - least).sum())
    assert gained >= 0.99


def one_task(seed=0):
    generator = np.random.default_rng(seed)
    aim = generator.uniform(-1, 1, (H, 2))
    return (
        aim,
        lambda one: float(((one - aim) ** 2).sum()),
        lambda plans: (plans - torch.as_tensor(aim)).square().sum((-2, -1)),
    )


def test_a_step_of_cem_is_its_reference():
    planner = CEM(horizon=H, candidates=32, iterations=2, elites=5)
    _, single, cost = one_task()
    state = planner.init(1, SPACE)
    mean, deviation = state.mean[0].numpy().astype(float), state.deviation[0].numpy().astype(float)
    for drawn in planner.draw(1, SPACE, torch.Generator().manual_seed(0)):
        state = planner.step(state, cost, drawn, SPACE)
        mean, deviation = slow.cem_step(mean, deviation, drawn[0].numpy().astype(float), single, 5, -1, 1, 0.04)
        np.testing.assert_allclose(state.mean[0], mean, atol=1e-5)
        np.testing.assert_allclose(state.deviation[0], deviation, atol=1e-5)


def test_a_step_of_mppi_is_its_reference():
    planner = MPPI(horizon=H, candidates=32, iterations=3, temperature=0.3, decay=0.5, floor=0.2)
    _, single, cost = one_task()
    state = planner.init(1, SPACE)
    mean = state.mean[0].numpy().astype(float)
    for drawn, deviation in zip(planner.draw(1, SPACE, torch.Generator().manual_seed(0)), (1.0, 0.5, 0.4), strict=True):
        state = planner.step(state, cost, drawn, SPACE)
        mean = slow.mppi_step(mean, deviation, drawn[0].numpy().astype(float), single, 0.3, -1, 1)
        np.testing.assert_allclose(state.mean[0], mean, atol=1e-5)


def test_mppi_does_not_care_for_the_unit_of_costs_and_survives_equal_ones():
    planner = MPPI(horizon=H)
    _, _, cost = one_task()
    drawn = planner.draw(1, SPACE, torch.Generator().manual_seed(0))
    one, scaled = plan(planner, cost, drawn, SPACE), plan(planner, lambda plans: 1e3 * cost(plans) + 7, drawn, SPACE)
    torch.testing.assert_close(one, scaled, atol=1e-5, rtol=1e-4)
    flat = plan(planner, lambda plans: torch.zeros(plans.shape[:2]), drawn, SPACE)
    assert bool(flat.isfinite().all())


def test_a_colder_mppi_follows_the_best_plan():
    planner = MPPI(horizon=H, candidates=16, iterations=1, temperature=1e-4)
    _, _, cost = one_task()
    drawn = planner.draw(1, SPACE, torch.Generator().manual_seed(0))
    plans = drawn[0].clamp(-1, 1)
    plans[:, 0] = 0.0
    torch.testing.assert_close(plan(planner, cost, drawn, SPACE)[0], plans[0, cost(plans)[0].argmin()])


@pytest.mark.parametrize(("rate", "iterations"), [(0.2, 25), (0.5, 5)], ids=["settles", "swings"])
def test_gradient_is_adam_inside_the_box(rate, iterations):
    planner = Gradient(horizon=H, restarts=2, iterations=iterations, rate=rate, second_momentum=0.95)
    aim, single, cost = one_task()
    aim[0] = 3.0  # beyond the box
    drawn = planner.draw(1, SPACE, torch.Generator().manual_seed(0))
    visited = []
    for start in (np.zeros((H, 2)), np.clip(drawn[0, 0, 1].numpy().astype(float), -1, 1)):
        visited += slow.adam(start, lambda one: 2 * (one - aim), iterations, 2 * rate, 0.9, 0.95, -1, 1)
    expected = min(visited, key=single)
    np.testing.assert_allclose(plan(planner, cost, drawn, SPACE)[0], expected, atol=1e-4)


def test_gradient_keeps_the_best_plan_when_it_gets_worse_and_better_again():
    planner, costs = Gradient(horizon=1, restarts=1, iterations=4), iter([3.0, 1.0, 5.0, 2.0])
    tried = []

    def cost(plans):
        tried.append(plans.detach().clone())
        return next(costs) + 1e-3 * plans.sum((-2, -1))

    found = plan(planner, cost, planner.draw(1, SPACE, torch.Generator().manual_seed(0)), SPACE)
    assert torch.equal(found, tried[1][:, 0])


def test_gradient_works_although_its_caller_takes_none():
    planner, problem = PLANNERS["gradient"], PointMass()
    drawn = planner.draw(8, SPACE, torch.Generator().manual_seed(0))
    weight = torch.nn.Parameter(torch.ones(()))
    outside = plan(planner, problem.cost, drawn, SPACE)
    with torch.no_grad():
        inside = plan(planner, lambda plans: weight * problem.cost(plans), drawn, SPACE)
    torch.testing.assert_close(inside, outside)
    assert not inside.requires_grad
    assert weight.grad is None


def test_gradient_refuses_a_cost_that_has_none_and_a_slope_that_is_no_number():
    planner = Gradient(horizon=H)
    drawn = planner.draw(1, SPACE, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="differentiable in the plans"):
        plan(planner, lambda plans: plans.detach().sum((-2, -1)), drawn, SPACE)
    weight = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="differentiable in the plans"):
        plan(planner, lambda plans: weight * plans.detach().sum((-2, -1)), drawn, SPACE)
    with pytest.raises(NotFiniteError, match=r"gradients that are numbers.*25\.0%"):
        plan(planner, lambda plans: plans.abs().sqrt().sum((-2, -1)), drawn, SPACE)


def test_a_second_restart_finds_what_the_first_does_not():
    """Two valleys: the one at −0.8 is deeper, and the middle of the limits rolls into the other."""

    def cost(plans):
        return ((plans - 0.3).square() * (plans + 0.8).square() + 0.1 * plans).sum((-2, -1))

    one, many = (
        plan(planner, cost, planner.draw(4, SPACE, torch.Generator().manual_seed(0)), SPACE)
        for planner in (Gradient(horizon=1, restarts=1), Gradient(horizon=1, restarts=16))
    )
    assert float(cost(many[:, None]).mean()) < float(cost(one[:, None]).mean()) - 0.05


@pytest.mark.parametrize("steps", [2, 5, 8])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_the_spectrum_of_coloured_noise(steps, exponent):
    white = torch.randn(20_000, steps, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = coloured(white, exponent)
    power = torch.fft.fft(noise[..., 0]).abs().square().mean(0)
    # A mean of 20 000 squares of normal numbers: relative deviation √(2 / 20 000) = 1 %; five of them.
    np.testing.assert_allclose(power, slow.coloured_power(steps, exponent), rtol=0.05)
    np.testing.assert_allclose(noise.square().mean(0), 1.0, rtol=0.05)


def test_icem_draws_fewer_each_iteration_keeps_elites_and_tries_the_mean_last():
    planner = ICEM(horizon=H, candidates=40, iterations=4, elites=5, kept=0.4, decay=1.5)
    problem, seen = PointMass(tasks=3), []

    def cost(plans):
        seen.append(plans)
        return problem.cost(plans)

    state = planner.init(3, SPACE)
    for drawn in planner.draw(3, SPACE, torch.Generator().manual_seed(0)):
        mean, deviation, kept, carried = state.mean, state.deviation, state.elite_costs, state.elites
        state = planner.step(state, cost, drawn, SPACE)
        every = torch.cat([seen[-1], carried], dim=1)
        order = torch.cat([problem.cost(seen[-1]), kept], dim=1).argsort(dim=1)[:, :5]
        elite = torch.stack([plans[chosen] for plans, chosen in zip(every, order, strict=True)])
        torch.testing.assert_close(state.mean, 0.1 * mean + 0.9 * elite.mean(1))
        refitted = 0.1 * deviation + 0.9 * elite.std(1, correction=0)
        torch.testing.assert_close(state.deviation, refitted.clamp(min=0.04))
        tried = torch.cat([problem.cost(seen[-1]), kept], dim=1)
        torch.testing.assert_close(state.elite_costs, tried.sort(dim=1).values[:, :2])
        torch.testing.assert_close(problem.cost(state.elites), state.elite_costs)
    assert [plans.shape[1] for plans in seen] == [40, 26, 17, 11]
    torch.testing.assert_close(seen[-1][:, 0], mean)
    best = torch.cat([problem.cost(plans) for plans in seen], dim=1).amin(1)
    torch.testing.assert_close(problem.cost(planner.best(state)[:, None])[:, 0], best)


@pytest.mark.parametrize(
    ("planner", "settings", "message"),
    [
        (ICEM(), {"elites": 65}, "as many candidates as elites"),
        (ICEM(), {"kept": 1.5}, "kept in"),
        (ICEM(), {"momentum": 1.0}, "momentum"),
        (ICEM(), {"decay": 0.9}, "decay ≥ 1"),
        (ICEM(), {"exponent": -1.0}, "exponent ≥ 0"),
        (MPPI(), {"candidates": 0}, "candidates"),
        (MPPI(), {"temperature": 0.0}, "temperature > 0"),
        (MPPI(), {"decay": 1.5}, "decay ≤ 1"),
        (MPPI(), {"floor": 0.9}, "floor ≤ deviation"),
        (Gradient(), {"restarts": 0}, "restarts"),
        (Gradient(), {"iterations": 0}, "iterations"),
        (Gradient(), {"rate": 0.0}, "rate"),
        (Gradient(), {"momentum": 1.0}, "momenta"),
        (Gradient(), {"horizon": 0}, "at least one step"),
        (Gradient(), {"score": "density"}, "score=distance"),
        (Gradient(), {"cost": {"final": -1.0}}, "weights ≥ 0"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(planner, settings, message):
    with pytest.raises(ValueError, match=message):
        replace(planner, **settings)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_plan_to_start_from_of_another_shape_is_refused(name):
    with pytest.raises(ValueError, match="to start from of shape"):
        PLANNERS[name].init(2, SPACE, warm=torch.zeros(2, H + 1, 2))
