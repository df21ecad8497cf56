"""The linear-Gaussian world, and the estimators on it, against the closed form."""

import numpy as np
import pytest
import torch

from jepa_scale.estimators.moments import MomentAccumulator
from jepa_scale.estimators.spectrum import OperatorSums, operator_spectrum
from jepa_scale.planners.base import plan
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.costs import CostTerms
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.theory.gaussian import linear_total, product_total, product_values
from jepa_scale.theory.lqr import regulator
from jepa_scale.worlds.linear_gaussian import LinearGaussianWorld

WORLD = LinearGaussianWorld()
SMALL = LinearGaussianWorld(state_size=2, action_size=1, slow=0.8, fast=0.5, noise_std=0.2)


def transitions(world, trajectories, length=20, seed=1):
    """States, actions and next states, row by row, with the number of each row's trajectory."""
    sample = world.sample(trajectories, length, seed)
    now, after = (part.reshape(-1, world.state_size) for part in (sample.states[:, :-1], sample.states[:, 1:]))
    return now, sample.actions.reshape(-1, world.action_size), after, np.repeat(np.arange(trajectories), length)


def polynomials(values, degree):
    """All monomials of degree 1 … ``degree``."""
    columns = [values.astype(np.float64)]
    for _ in range(degree - 1):
        columns.append((columns[-1][:, :, None] * values[:, None, :]).reshape(len(values), -1))
    return torch.as_tensor(np.hstack(columns))


def spectrum_of(left, right, groups):
    sums = MomentAccumulator(left.shape[1], right.shape[1])
    sums.update(left, right, None, torch.as_tensor(groups))
    return operator_spectrum(OperatorSums.of(sums.compute(), 0, "pooled"))


def test_moments_are_those_of_the_law():
    now, actions, after, _ = transitions(WORLD, 4000)
    law, rows = WORLD.linear_gaussian, np.hstack([now, actions])
    control = law.control @ law.action_covariance
    context = np.block([[law.stationary, np.zeros((4, 2))], [np.zeros((2, 4)), law.action_covariance]])
    expected = np.vstack([law.transition @ law.stationary, control.T])
    for found, exact, scale in (
        (rows.T @ rows, context, np.outer(*2 * [np.sqrt(np.diag(context))])),
        (after.T @ after, law.stationary, np.outer(*2 * [np.sqrt(np.diag(law.stationary))])),
        (rows.T @ after, np.vstack([expected[:4].T, expected[4:]]), 0.2),
    ):
        # A correlation of 80 000 rows of trajectories that forget in about 1/(1 − 0.8²) steps: SE 0.006.
        np.testing.assert_allclose(found / len(rows) / scale, exact / scale, atol=0.03)


def test_actions_are_normal_and_clipped():
    uniforms = torch.tensor([[[0.0], [0.5], [1.0], [0.8413447]]])
    np.testing.assert_allclose(WORLD.behave(uniforms).flatten(), [-1, 0, 1, 0.25], atol=1e-6)
    assert torch.isfinite(WORLD.start(torch.tensor([[0.0, 1.0, 0.5, 0.5]]))).all()


def test_the_observation_is_invertible():
    """Bisection of u + bend sin u, coordinate by coordinate."""
    states = WORLD.start(torch.rand(50, 4, generator=torch.Generator().manual_seed(0)))
    seen = WORLD.observe(states, torch.zeros(50, 4))[:, :4].double()
    _, _, _, scale, turn = WORLD._tensors
    bent = seen @ turn.T.double()
    low, high = torch.full_like(bent, -20), torch.full_like(bent, 20)
    for _ in range(60):
        middle = (low + high) / 2
        below = middle + WORLD.bend * torch.sin(middle) < bent
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    torch.testing.assert_close(low / scale, states.double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_joint_operator_is_found_in_polynomials(degree):
    """Polynomials of degree ≤ D of both sides see exactly the products of degree ≤ D, whatever linear map came first.

    The error falls with √n: from 10 000 to 160 000 rows to a quarter, and the truth is inside the intervals.
    """
    correlations = SMALL.linear_gaussian.joint_correlations
    exact = np.sort([a**i * b**j for a, b in [correlations] for i in range(3) for j in range(3) if i + j <= degree])
    errors = []
    for trajectories in (500, 8000):
        now, actions, after, groups = transitions(SMALL, trajectories, seed=3)
        left, right = polynomials(np.hstack([now, actions]), degree), polynomials(after, degree)
        found = spectrum_of(left, right, groups)
        errors.append(float(found.total.standard_error))
        low, high = found.total.interval(0.999)
        assert low <= (exact**2).sum() <= high
        values = found.singular_values
        apart = np.abs(np.asarray(values.value)[: len(exact)] - exact[::-1])
        # 4.07: t with 15 degrees of freedom at 0.999; clipped actions shift values by less than 10⁻⁴.
        assert (apart <= 4.07 * np.asarray(values.standard_error)[: len(exact)] + 1e-4).all()
    # An error from 16 groups is itself uncertain by 1/√30.
    assert errors[1] / errors[0] == pytest.approx(0.25, rel=4 * np.sqrt(2 / 30))
    if degree == 1:
        assert (exact**2).sum() == pytest.approx(linear_total(correlations))


def test_actions_at_one_value_leave_the_operator_of_fixed_actions():
    """Operators of fixed actions do not depend on the action: noise in place of actions shows it from x alone."""
    law = SMALL.linear_gaussian
    generator = np.random.default_rng(4)
    start = generator.multivariate_normal(np.zeros(2), law.stationary, 40_000)
    moved = start @ law.transition.T + 0.4 * law.control[:, 0]
    after = moved + generator.multivariate_normal(np.zeros(2), law.noise_covariance, 40_000)
    found = spectrum_of(torch.as_tensor(start), torch.as_tensor(after), np.arange(40_000))
    exact = np.append(1.0, law.fixed_action_correlations)
    low, high = found.singular_values.interval(0.999)
    assert ((low - 1e-9 <= exact) & (exact <= high + 1e-9)).all()


def test_the_known_spectrum_is_that_of_the_law():
    known, correlations = WORLD.known_spectrum, WORLD.linear_gaussian.joint_correlations
    assert known.total == product_total(correlations)
    np.testing.assert_array_equal(known.values[:50], product_values(correlations, 50))
    assert known.tail(0) == known.total
    assert 0 < known.tail(len(known.values)) < 0.02


def test_runs_compare_themselves_with_the_closed_form(tmp_path):
    from jepa_scale.callbacks.spectrum import split_estimates

    parts = build(compose(["logger=none", "world=linear_gaussian", "planner=none", "model.k=3", "data.heldout=4000"]))
    found = {
        one.name: one for one in split_estimates("spectrum", parts.module, parts.data.heldout, parts.context, 0, 0)
    }
    known = WORLD.known_spectrum
    total, tail = found["spectrum/reference/total"], found["spectrum/reference/tail"]
    assert (total.value, total.standard_error, total.flag) == (known.total, 0.0, "closed_form")
    assert tail.value == pytest.approx(known.total - (known.values[:3] ** 2).sum())
    assert "spectrum/reference/half_total" not in found
    # R = ‖M̄‖² + L, and Σ_{i≤k} σ_i² − T of any model is positive.
    assert found["spectrum/risk"].value == pytest.approx(known.total + found["spectrum/loss"].value)
    deficit = (known.values[:3] ** 2).sum() - found["spectrum/total"].value
    assert found["spectrum/subspace_deficit"].value == pytest.approx(deficit)
    assert deficit > 0


def test_the_regulator_costs_what_it_says():
    """10 000 closed-loop episodes of the simulator, with limits out of reach."""
    world = LinearGaussianWorld(action_std=50.0)
    law, generator = world.linear_gaussian, np.random.default_rng(5)
    best = regulator(law, 6, final=1.0, path=0.5, effort=0.2)
    states = torch.as_tensor(generator.normal(size=(10_000, 4)), dtype=torch.float32)
    start, goals, paid = states, torch.as_tensor(generator.normal(size=(10_000, 4)), dtype=torch.float32), 0.0
    for t in range(6):
        action = torch.as_tensor(best.action(t, states.double().numpy(), goals.double().numpy()), dtype=torch.float32)
        noise = torch.as_tensor(generator.normal(size=(10_000, 4)), dtype=torch.float32)
        states = world.step(states, action, noise)
        far = (states - goals).square().sum(1)
        paid = paid + (0.5 + (t == 5)) * far + 0.2 * action.square().sum(1)
    difference = paid.numpy() - best.cost(start.double().numpy(), goals.double().numpy())
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(10_000)


def test_the_oracle_planner_approaches_the_regulator():
    """Plans by true dynamics without noise, in the planner's own cost; no plan is cheaper than the regulator's."""
    world, terms = LinearGaussianWorld(action_std=0.75), CostTerms(final=1.0, path=0.5, effort=0.9)
    space, law = world.action_space, world.linear_gaussian
    tasks = world.tasks((6,), 30, 0)
    goals = 0.3 * tasks.goals
    # Effort is counted in half ranges, here 3.
    best = regulator(law, 4, final=1.0, path=0.5, effort=0.9 / space.high**2)

    def cost(plans):
        here, reached = tasks.starts[:, None].expand(-1, plans.shape[1], -1), []
        for action in plans.unbind(2):
            here = world.step(here, action, torch.zeros_like(here))
            reached.append(here)
        return terms.of_latents(torch.stack(reached, 2), goals[:, None], plans, space)

    least = best.cost(tasks.starts.double().numpy(), goals.double().numpy()) - best.noise_costs[0]
    excess = []
    for iterations in (3, 30):
        planner = CEM(horizon=4, candidates=256, iterations=iterations, elites=16, floor=1e-4, cost=terms)
        drawn = planner.draw(30, space, torch.Generator().manual_seed(0))
        found = plan(planner, cost, drawn, space)
        excess.append(cost(found[:, None])[:, 0].numpy() - least)
    assert (excess[1] > -1e-5).all()
    assert excess[1].max() < 0.01 * least.mean()
    assert excess[1].mean() < excess[0].mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action_size": 5}, "action_size ≤ state_size"),
        ({"slow": 1.0}, "slow < 1"),
        ({"bend": 1.0}, r"bend in \[0, 1\)"),
        ({"noise_std": 0.0}, "noise_std"),
        ({"control": float("nan")}, "control"),
    ],
    ids=["actions", "unstable", "not invertible", "noiseless", "nan"],
)
def test_settings_at_the_door(settings, message):
    with pytest.raises(ValueError, match=message):
        LinearGaussianWorld(**settings)
