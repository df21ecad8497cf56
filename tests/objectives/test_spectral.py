import numpy as np
import pytest
import torch

from jepa_scale.objectives.spectral import SpectralObjective
from tests.reference.worlds import batch_loss

COUNTS = [50, 30, 20]


def batch(seed, rows=24, width=3):
    generator = torch.Generator().manual_seed(seed)
    predicted, observed = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return predicted, observed, torch.randint(0, 3, (rows,), generator=generator)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
@pytest.mark.parametrize("self_pairs", [False, True])
def test_moment_form_equals_the_double_sum(negatives, self_pairs):
    predicted, observed, actions = batch(0)
    found = (
        SpectralObjective(negatives, torch.tensor(COUNTS), self_pairs).double().one_step(predicted, observed, actions)
    )
    expected = batch_loss(
        predicted.numpy(), observed.numpy(), actions.tolist(), negatives, COUNTS if self_pairs else None
    )
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_gradient_equals_finite_differences(negatives):
    predicted, observed, actions = batch(1, rows=9)
    objective = SpectralObjective(negatives, torch.tensor(COUNTS)).double()
    inputs = (predicted.requires_grad_(), observed.requires_grad_())
    assert torch.autograd.gradcheck(lambda h, f: objective.one_step(h, f, actions), inputs)


def test_an_action_with_one_row_is_left_out():
    predicted, observed, _ = batch(2, rows=5)
    actions = torch.tensor([0, 0, 0, 0, 2])
    objective = SpectralObjective("same_action", torch.tensor(COUNTS)).double()
    found = objective.one_step(predicted, observed, actions)
    alone = objective.one_step(predicted[:4], observed[:4], actions[:4]) * 4 / 5
    assert float(found) == pytest.approx(float(alone), rel=1e-12)


def test_minibatches_estimate_the_empirical_risk_without_bias():
    """Average over all batches of 2 from 5 transitions = the double sum over all 25 pairs, self pairs included."""
    generator = torch.Generator().manual_seed(3)
    predicted, observed = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    actions = torch.zeros(5, dtype=torch.int64)
    objective = SpectralObjective("pooled", torch.tensor([5])).double()
    batches = [
        objective.one_step(predicted[[i, j]], observed[[i, j]], actions[[i, j]]) for i in range(5) for j in range(i)
    ]
    products = predicted @ observed.T
    whole = -2 * products.diagonal().mean() + (products**2).mean()
    assert float(torch.stack(batches).mean()) == pytest.approx(float(whole), rel=1e-12)


def test_the_empirical_risk_is_bounded_below_and_the_plain_statistic_is_not():
    """Memorise: h_i = f_i = c e_i. Every own pair is rewarded; only the self-pair term charges for it."""
    rows = 8
    actions, counts = torch.zeros(rows, dtype=torch.int64), torch.tensor([rows])
    for scale in (10.0, 100.0):
        embeddings = scale * torch.eye(rows, dtype=torch.float64)
        plain = SpectralObjective("pooled", counts, self_pairs=False).double().one_step(embeddings, embeddings, actions)
        whole = SpectralObjective("pooled", counts).double().one_step(embeddings, embeddings, actions)
        assert float(plain) == pytest.approx(-2 * scale**2)
        assert float(whole) >= -rows


def test_the_order_of_rows_does_not_matter():
    predicted, observed, actions = batch(4)
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(actions)))
    objective = SpectralObjective("same_action", torch.tensor(COUNTS)).double()
    shuffled = objective.one_step(predicted[order], observed[order], actions[order])
    assert float(objective.one_step(predicted, observed, actions)) == pytest.approx(float(shuffled), rel=1e-12)


def test_float32_is_close_to_float64():
    predicted, observed, actions = batch(5, rows=256, width=32)
    objective = SpectralObjective("same_action", torch.tensor(COUNTS))
    exact = float(objective.double().one_step(predicted, observed, actions))
    single = float(objective.float().one_step(predicted.float(), observed.float(), actions))
    # Sums of some 10^4 products of order 1 at 6e-8 each.
    assert single == pytest.approx(exact, rel=1e-4)


def test_unknown_negatives_are_refused():
    with pytest.raises(ValueError, match="other_action"):
        SpectralObjective("other_action", torch.tensor(COUNTS))
