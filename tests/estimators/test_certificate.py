"""The certificate on exact worlds: above the exact risk and regret as often as it says, and silent where it must be."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from jepa_scale.estimators.certificate import (
    HeldOutModel,
    excess_certificate,
    one_per_trajectory,
    regret_certificate,
    risk_certificate,
)
from jepa_scale.planners.scores import best_plans
from jepa_scale.theory.graph import negative_law, normalised_co_occurrence
from jepa_scale.theory.holdout import loss_upper_bound
from jepa_scale.theory.planning import PlanningProblem, expected_regret, goal_weights, plan_values
from jepa_scale.theory.spectrum import exact_risk
from jepa_scale.worlds.torus import Torus
from tests.reference import worlds as reference

DELTA = 0.1


def tabular(generator, world, k, noise=0.1):
    """Noisy leading directions of the mean kernel and the least-squares predictor on them."""
    values, vectors = np.linalg.eigh(world.transition.mean(0))
    leading = np.argsort(-np.abs(values))[:k]
    encoder = np.sqrt(world.states) * vectors[:, leading] + noise * generator.normal(size=(world.states, k))
    second = encoder.T @ (world.context_law[:, None] * encoder)
    return encoder, world.transition @ encoder @ np.linalg.inv(second)


def held_out(encoder, predictor, starts, actions, ends, dtype=np.float64):
    inner = float(np.abs(predictor @ encoder.T).max())
    return HeldOutModel(predictor[actions, starts].astype(dtype), encoder[ends].astype(dtype), inner)


def transitions(world, n, seed):
    sample = world.sample(n, 1, seed)
    return sample.states[:, 0], sample.actions[:, 0], sample.states[:, 1]


def squared_norms(finite, negatives="same_action"):
    return (normalised_co_occurrence(finite, negatives) ** 2).sum((1, 2))


def regret_of(finite, encoder, predictor, problem):
    law = torch.as_tensor(negative_law(finite, "same_action"))
    chosen = best_plans("density", torch.as_tensor(predictor), torch.as_tensor(encoder), law).numpy()
    return expected_regret(plan_values(finite, 1), chosen, finite.context_law, goal_weights(finite, problem))


@pytest.mark.parametrize(
    ("negatives", "repeats"),
    [("same_action", 60), ("pooled", 60), pytest.param("same_action", 1000, marks=pytest.mark.slow)],
)
def test_certified_risk_and_regret_lie_above_the_exact_ones(generator, negatives, repeats):
    world = Torus(side=4, blur=0.8)
    finite = world.finite
    encoder, predictor = tabular(generator, finite, 4)
    exact = exact_risk(finite, encoder, predictor, negatives)
    problem = PlanningProblem(1, "reachable")
    regret = regret_of(finite, encoder, predictor, problem)
    omega = float((goal_weights(finite, problem) * negative_law(finite, negatives).max(0)).max())
    misses, regret_misses, widest = 0, 0, 0.0
    for seed in range(repeats):
        starts, actions, ends = transitions(world, 4000, seed)
        model = held_out(encoder, predictor, starts, actions, ends)
        found = risk_certificate(model, actions, 5, DELTA, squared_norms(finite, negatives), negatives)
        upper = np.array(found.risk_upper)
        misses += bool((upper < exact).any())
        regret_misses += regret_certificate(upper, omega, 1.0) < regret
        widest = max(widest, float((upper - exact).max()))
    # No more with probability 1 − 1e−6, if the certificate misses with probability ≤ δ.
    assert misses <= binom.ppf(1 - 1e-6, repeats, DELTA)
    assert regret_misses <= misses
    # Loose bounds cover too. Blocks per action 200 or 100, range 17.2: 4 range ln(A/δ) / (c · blocks).
    assert widest < 4 * 17.2 * np.log(50) / (0.75 * 100)


def test_excess_covers_and_cancels_the_unknown_norm(generator):
    world = Torus(side=4, blur=0.8)
    finite = world.finite
    models = [tabular(generator, finite, 3, noise) for noise in (0.1, 0.4)]
    exact = exact_risk(finite, *models[0]) - exact_risk(finite, *models[1])
    repeats, misses, decided = 60, 0, 0
    for seed in range(repeats):
        rows = transitions(world, 10_000, seed)
        certificate = excess_certificate(*(held_out(*model, *rows) for model in models), rows[1], 5, DELTA)
        upper = np.array([one.upper for one in certificate.excesses])
        misses += bool((upper < exact).any())
        decided += bool((upper < 0).any())
    assert misses <= binom.ppf(1 - 1e-6, repeats, DELTA)
    assert decided > 0, "the better model is never certified better, so the bound tests nothing"


def test_estimates_are_unbiased_with_honest_errors(generator):
    world = Torus(side=4, blur=0.8)
    encoder, predictor = tabular(generator, world.finite, 4)
    rows = transitions(world, 20_000, 5)
    found = risk_certificate(held_out(encoder, predictor, *rows), rows[1], 5, DELTA)
    truth = reference.loss(world.finite, encoder, predictor, False)
    for action, one in enumerate(found.losses):
        assert abs(one.value - truth[action]) < 4.5 * one.standard_error
        assert one.upper > one.value
        assert one.n == (rows[1] == action).sum() // 4 * 4
    assert found.risk_upper == (None,) * 5


def test_each_action_is_certified_on_its_own_rows_at_its_share_of_delta(generator):
    world = Torus(side=4, blur=0.8)
    encoder, predictor = tabular(generator, world.finite, 4)
    rows = transitions(world, 3000, 4)
    model = held_out(encoder, predictor, *rows)
    found = risk_certificate(model, rows[1], 5, DELTA, squared_norms(world.finite))
    for action, one in enumerate(found.losses):
        own = rows[1] == action
        alone = loss_upper_bound(model.predicted[own], model.observed[own], model.inner_bound, DELTA / 5)
        # The certificate widens c by 1e−5 of itself for embeddings of float32.
        assert one.upper == pytest.approx(alone, abs=1e-3)
        assert found.risk_upper[action] == pytest.approx(one.upper + squared_norms(world.finite)[action])


def test_an_action_never_seen_gives_a_sentence_and_no_number(generator):
    world = Torus(side=4, blur=0.8)
    encoder, predictor = tabular(generator, world.finite, 4)
    starts, actions, ends = (part[:2000] for part in transitions(world, 2000, 0))
    kept = (actions != 3) & ((actions != 2) | (np.cumsum(actions == 2) <= 3))
    rows = (starts[kept], actions[kept], ends[kept])
    found = risk_certificate(held_out(encoder, predictor, *rows), rows[1], 5, DELTA, squared_norms(world.finite))
    assert found.losses[3].upper is None
    assert found.losses[3].note == ("action 3 has 0 independent pairs, fewer than one block of 4: hold out more data")
    assert [risk is None for risk in found.risk_upper] == [False, False, True, True, False]
    with pytest.raises(ValueError, match="R\\(a\\) ≥ 0 for every action"):
        regret_certificate(np.array([0.1, np.nan]), 1.0, 1.0)


def test_pooled_negatives_are_rows_that_are_nobodys_pair(generator):
    predicted, observed = generator.uniform(-1, 1, size=(2, 400, 2))
    actions = generator.integers(2, size=400)
    plain = risk_certificate(HeldOutModel(predicted, observed, 2.0), actions, 2, DELTA, negatives="pooled")
    pairs, set_aside = np.arange(400) % 2 == 0, np.arange(400) % 2 == 1
    # Predictions of rows set aside, and targets of another action's pairs, are not looked at.
    other_predicted = np.where(set_aside[:, None], 0.0, predicted)
    other_observed = np.where((pairs & (actions == 1))[:, None], 0.0, observed)
    changed = HeldOutModel(other_predicted, other_observed, 2.0)
    found = risk_certificate(changed, actions, 2, DELTA, negatives="pooled")
    assert found.losses[0] == plain.losses[0]
    assert found.losses[1] != plain.losses[1]


def test_one_row_of_each_trajectory_at_a_uniform_place(generator):
    trajectories = np.repeat(np.arange(3000), 4)[generator.permutation(12_000)]
    rows = one_per_trajectory(trajectories, generator)
    assert sorted(trajectories[rows]) == list(range(3000))
    place = np.zeros(12_000, dtype=int)
    for one in range(3000):
        place[np.flatnonzero(trajectories == one)] = np.arange(4)
    # Multinomial(3000, 1/4): standard deviation 23.7; 5 of them.
    assert np.abs(np.bincount(place[rows]) - 750).max() < 119
    assert len(one_per_trajectory(np.array([], dtype=np.int64), generator)) == 0


def test_rows_of_one_trajectory_are_refused_and_thinned_rows_are_not(generator):
    world = Torus(side=4, blur=0.8)
    encoder, predictor = tabular(generator, world.finite, 4)
    sample = world.sample(400, 6, seed=2)
    starts, ends, actions = sample.states[:, :-1].ravel(), sample.states[:, 1:].ravel(), sample.actions.ravel()
    ids = np.repeat(np.arange(400), 6)
    model = held_out(encoder, predictor, starts, actions, ends)
    with pytest.raises(ValueError, match="2400 rows of 400 trajectories: choose rows with one_per_trajectory"):
        risk_certificate(model, actions, 5, DELTA, trajectories=ids)
    rows = one_per_trajectory(ids, generator)
    thinned = held_out(encoder, predictor, starts[rows], actions[rows], ends[rows])
    found = risk_certificate(thinned, actions[rows], 5, DELTA, trajectories=ids[rows])
    assert all(one.upper is not None for one in found.losses)


def test_choosing_the_first_row_of_each_action_would_bias_the_contexts(generator):
    """Why thinning must not look at actions: where actions steer, a late first occurrence tells where x is."""
    steer = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    length, repeats = 8, 20_000
    actions = generator.integers(2, size=(repeats, length))
    states = np.empty((repeats, length), dtype=int)
    states[:, 0] = generator.integers(2, size=repeats)
    for step in range(1, length):
        states[:, step] = steer[actions[:, step - 1], states[:, step - 1]].argmax(1)
    seen = (actions == 1).any(1)
    first = (actions == 1).argmax(1)
    by_action = states[np.arange(repeats), first][seen].mean()
    ids = np.repeat(np.arange(repeats), length)
    rows = one_per_trajectory(ids, generator)
    blind = states.ravel()[rows][actions.ravel()[rows] == 1].mean()
    # p is uniform on two states; 5 standard errors of a mean of 10 000 fair coins are 0.025.
    assert abs(blind - 0.5) < 0.025
    assert by_action < 0.3


def test_single_precision_changes_nothing_that_matters(generator):
    world = Torus(side=4, blur=0.8)
    encoder, predictor = tabular(generator, world.finite, 4)
    rows = transitions(world, 3000, 1)
    found = [
        risk_certificate(held_out(encoder, predictor, *rows, dtype), rows[1], 5, DELTA)
        for dtype in (np.float64, np.float32)
    ]
    for one, other in zip(found[0].losses, found[1].losses, strict=True):
        # Products near 3 rounded to 1e−7 of themselves, squared and averaged.
        assert one.upper == pytest.approx(other.upper, abs=1e-5)


def test_bad_input_is_refused(generator):
    rows = generator.uniform(-1, 1, size=(40, 2))
    actions = generator.integers(2, size=40)
    model = HeldOutModel(rows, rows, 2.0)
    with pytest.raises(ValueError, match=r"reaches .* more than inner_bound=0\.1"):
        risk_certificate(HeldOutModel(rows, rows, 0.1), actions, 2, DELTA)
    with pytest.raises(ValueError, match=r"reaches .* more than inner_bound=0\.1"):
        risk_certificate(HeldOutModel(rows, rows, 0.1), actions, 2, DELTA, negatives="pooled")
    with pytest.raises(ValueError, match="actions in 0 … 0"):
        risk_certificate(model, actions, 1, DELTA)
    with pytest.raises(ValueError, match="delta=0"):
        risk_certificate(model, actions, 2, 0.0)
    with pytest.raises(ValueError, match="one action per row"):
        excess_certificate(model, HeldOutModel(rows[:20], rows[:20], 2.0), actions, 2, DELTA)
    with pytest.raises(ValueError, match="of 2 actions, got 3"):
        risk_certificate(model, actions, 2, DELTA, np.ones(3))
    with pytest.raises(ValueError, match="diverged"):
        HeldOutModel(rows * np.nan, rows, 2.0)
    with pytest.raises(ValueError, match="one shape"):
        HeldOutModel(rows, rows[:3], 2.0)
    with pytest.raises(ValueError, match="omega=0"):
        regret_certificate(np.ones(2), 0.0, 1.0)
