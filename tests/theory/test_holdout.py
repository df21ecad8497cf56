import itertools

import numpy as np
import pytest
from scipy.stats import binom

from jepa_scale.theory.graph import negative_law
from jepa_scale.theory.holdout import (
    block_losses,
    block_losses_pooled,
    excess_upper_bound,
    loss_range,
    loss_upper_bound,
)
from jepa_scale.theory.spectrum import exact_moments, spectral_loss
from tests.reference import estimators
from tests.reference import worlds as reference


def drawn(generator, world, action, n):
    joint = (world.context_law[:, None] * world.transition[action]).ravel()
    return np.divmod(generator.choice(joint.size, size=n, p=joint / joint.sum()), world.states)


def model_of(generator, world, k=3):
    return generator.normal(size=(world.states, k)), generator.normal(size=(world.actions, world.states, k))


@pytest.mark.parametrize("block", [2, 3, 8])
def test_block_losses_are_the_double_sums(generator, block):
    predicted, observed = generator.normal(size=(2, 26, 3))
    found = block_losses(predicted, observed, block)
    assert len(found) == 26 // block
    for index, value in enumerate(found):
        rows = list(range(index * block, (index + 1) * block))
        assert value == pytest.approx(estimators.unbiased_loss(predicted, observed, rows, rows), rel=1e-12)


def test_the_mean_over_all_blocks_of_a_small_world_is_the_loss(generator):
    """Exactly unbiased: the expectation of a block by summing over all pairs of transitions."""
    world = reference.random_world(generator, states=3, actions=1)
    encoder, predictor = model_of(generator, world)
    joint = world.context_law[:, None] * world.transition[0]
    expected = 0.0
    for (x, y), (u, v) in itertools.product(np.ndindex(3, 3), repeat=2):
        value = block_losses(predictor[0, [x, u]], encoder[[y, v]], 2)[0]
        expected += joint[x, y] * joint[u, v] * value
    assert expected == pytest.approx(reference.loss(world, encoder, predictor, False)[0], rel=1e-10)


def test_pooled_blocks_are_unbiased_for_the_pooled_loss(generator):
    world = reference.random_world(generator)
    encoder, predictor = model_of(generator, world)
    start, following = drawn(generator, world, 1, 40_000)
    law = negative_law(world, "pooled")[1]
    rivals = encoder[generator.choice(world.states, size=60_000, p=law)]
    found = block_losses_pooled(predictor[1, start], encoder[following], rivals, 4)
    truth = reference.loss(world, encoder, predictor, True)[1]
    # 4.5 standard errors: 7e−6.
    assert abs(found.mean() - truth) < 4.5 * found.std() / np.sqrt(len(found))
    by_hand = np.mean([(predictor[1, start[i]] @ rivals[j]) ** 2 for i in range(4) for j in range(6)])
    own = np.mean([predictor[1, start[i]] @ encoder[following[i]] for i in range(4)])
    assert found[0] == pytest.approx(by_hand - 2 * own, rel=1e-12)


@pytest.mark.parametrize(("block", "width"), [(2, 1), (4, 2), (4, 4), (8, 3)])
@pytest.mark.parametrize("inner_bound", [0.8, 2.5, 9.0])
def test_the_range_holds_under_attack(generator, inner_bound, block, width):
    """Descent on the loss of a block over matrices of products of rank ≤ k with entries in [−c, c]."""
    from scipy.optimize import minimize

    low, high = loss_range(inner_bound, block, width)
    least = np.inf

    def loss(flat, sign):
        left, right = flat.reshape(2, block, width)
        products = left @ right.T
        scale = min(1.0, inner_bound / np.abs(products).max())
        return sign * block_losses(left * scale, right, block)[0]

    for _ in range(2):
        found = minimize(loss, generator.normal(size=2 * block * width), args=(1.0,), options={"maxiter": 10})
        least = min(least, found.fun)
        assert loss(generator.normal(size=2 * block * width), -1.0) >= -high - 1e-9
    assert least >= low - 1e-9
    assert low >= -2 * inner_bound
    # Aligned latents, all products equal to t, are admissible for every k: the loss t² − 2t is at least ``low``.
    assert min(t**2 - 2 * t for t in np.linspace(-inner_bound, inner_bound, 201)) >= low - 1e-9


def test_both_ends_of_the_range_are_attained():
    low, high = loss_range(3.0, 4)
    ones = np.ones((4, 1))
    assert block_losses(-3 * ones, ones, 4)[0] == pytest.approx(high)
    assert block_losses(3 * np.eye(4), np.eye(4), 4)[0] == pytest.approx(low)
    # k < b where the sharper end is attained: two pairs of orthogonal directions, own products 3, t = c.
    narrow = np.kron(np.eye(2), np.ones((2, 1)))
    value = block_losses(1.1 * narrow, narrow, 4)[0]
    assert value == pytest.approx(loss_range(1.1, 4, 2)[0])
    assert value > -2.2


def test_coverage_of_loss_and_excess(generator):
    world = reference.random_world(generator, states=5, actions=1)
    (encoder, predictor), (other_encoder, other_predictor) = (model_of(generator, world, k) for k in (2, 3))
    inner, other_inner = (
        float(np.abs(p[0] @ e.T).max()) for e, p in ((encoder, predictor), (other_encoder, other_predictor))
    )
    truth = spectral_loss(exact_moments(world, encoder, predictor))[0]
    other = spectral_loss(exact_moments(world, other_encoder, other_predictor))[0]
    delta, repeats, misses, excess_misses, tight = 0.1, 150, 0, 0, 0
    for _ in range(repeats):
        start, following = drawn(generator, world, 0, 1600)
        rows = (predictor[0, start], encoder[following], inner)
        upper = loss_upper_bound(*rows, delta)
        misses += upper < truth
        tight += upper < truth + 0.1 * (inner**2 + 4 * inner)
        others = (other_predictor[0, start], other_encoder[following], other_inner)
        excess_misses += excess_upper_bound(*rows, *others, delta) < truth - other
    # No more with probability 1 − 1e−6, if the bounds miss with probability ≤ δ.
    allowed = binom.ppf(1 - 1e-6, repeats, delta)
    assert misses <= allowed
    assert excess_misses <= allowed
    assert tight > repeats / 2, "the bound is near the range's end, so it tests nothing"


def test_the_same_model_has_no_excess_beyond_the_width_of_the_bound(generator):
    predicted, observed = generator.uniform(-0.5, 0.5, size=(2, 4000, 2))
    rows = (predicted, observed, 0.5)
    upper = excess_upper_bound(*rows, *rows, 0.05)
    # Differences are exactly 0, on a range of ±2.25: what is left is of order range · ln(1/δ) / blocks.
    assert 0 < upper < 4 * 4.5 * np.log(20) / 1000


def test_data_that_break_the_stated_bound_are_refused(generator):
    predicted, observed = generator.normal(size=(2, 40, 2))
    with pytest.raises(ValueError, match=r"\|hᵀz\| reaches .* more than inner_bound=0\.01"):
        loss_upper_bound(predicted, observed, 0.01, 0.05)
    with pytest.raises(ValueError, match="reaches nan"):
        loss_upper_bound(predicted * np.nan, observed, 9.0, 0.05)
    with pytest.raises(ValueError, match="block=1"):
        block_losses(predicted, observed, 1)
    with pytest.raises(ValueError, match="got 3 rows"):
        block_losses(predicted[:3], observed[:3], 4)
    with pytest.raises(ValueError, match="one negative per block, got 5 for 10"):
        block_losses_pooled(predicted, observed, observed[:5], 4)
    with pytest.raises(ValueError, match="inner_bound=-1"):
        loss_range(-1.0, 4)


def test_a_model_that_is_zero_has_loss_zero():
    zero = np.zeros((8, 2))
    assert loss_upper_bound(zero, zero, 0.0, 0.05) == 0.0
