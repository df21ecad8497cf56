import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from jepa_scale.theory.graph import normalised_co_occurrence
from jepa_scale.theory.sparse import SparseWorld, next_law, normalised, top_singular_values
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.torus import Torus
from tests.reference import learners as slow
from tests.reference import worlds as reference

EXACT = 1e-10


def sparse_world(world):
    kernels = tuple(sparse.csr_array(kernel) for kernel in world.transition)
    return SparseWorld(kernels, world.context_law, world.policy)


def permutation(generator, states):
    image = generator.permutation(states)
    return sparse.csr_array((np.ones(states), (np.arange(states), image)), shape=(states, states))


@pytest.mark.parametrize(
    "build",
    [
        lambda generator: reference.random_world(generator, states=40),
        lambda generator: Torus(14, 0.2, 0.5).finite,
        lambda generator: Nuisance(Torus(5, 0.2, 0.4), 8).finite,
    ],
    ids=["random", "torus", "nuisance"],
)
def test_sparse_values_are_the_dense_ones(generator, build):
    world = build(generator)
    thin = sparse_world(world)
    for action in range(world.actions):
        matrix = normalised(thin, action)
        dense = normalised_co_occurrence(world)[action]
        np.testing.assert_allclose(matrix.toarray(), dense, atol=EXACT)
        expected = np.linalg.svd(dense, compute_uv=False)
        found = top_singular_values(matrix, 30, seed=action)
        # The nuisance world has rank 25: five of its values are 0, and squared rounding must not show in them.
        np.testing.assert_allclose(found.values, expected[:30], atol=EXACT)
        assert found.converged
        assert found.squared_norm == pytest.approx((expected**2).sum(), abs=EXACT)
        assert found.tail == pytest.approx((expected[30:] ** 2).sum(), abs=EXACT)


@pytest.mark.parametrize("action", [0, 3])
def test_a_large_torus_matches_its_fourier_coefficients(action):
    side, slip, blur, reach = 40, 0.2, 1.0, 3
    world = slow.sparse_torus(side, slip, blur, reach)
    expected = slow.torus_singular_values(side, slip, blur, reach, action)
    found = top_singular_values(normalised(world, action), 64, seed=0)
    np.testing.assert_allclose(found.values, expected[:64], atol=EXACT)
    assert found.tail == pytest.approx((expected[64:] ** 2).sum(), abs=1e-8)
    assert found.tail_slack < 1e-8


def test_the_top_pair_are_the_constants(generator):
    world = reference.random_world(generator, states=30)
    thin = sparse_world(world)
    for action in range(world.actions):
        law = next_law(thin, action)
        matrix = normalised(thin, action)
        np.testing.assert_allclose(matrix @ np.sqrt(law), np.sqrt(world.context_law), atol=EXACT)
        np.testing.assert_allclose(matrix.T @ np.sqrt(world.context_law), np.sqrt(law), atol=EXACT)
        assert top_singular_values(matrix, 1, seed=0).values[0] == pytest.approx(1.0, abs=EXACT)


def test_columns_that_are_never_reached_are_zero(generator):
    # Column 1 is stored as an explicit zero, column 4 not at all.
    rows, columns = np.array([0, 0, 1, 2, 3, 4, 5]), np.array([0, 1, 0, 2, 3, 3, 5])
    kernel = sparse.csr_array((np.array([1.0, 0, 1, 1, 1, 1, 1]), (rows, columns)), shape=(6, 6))
    matrix = normalised(SparseWorld((kernel,), generator.dirichlet(np.ones(6)), np.ones(1)), 0)
    assert np.isfinite(matrix.data).all()
    # E4: every nonzero singular value of a deterministic world is 1, as often as the image has points.
    np.testing.assert_allclose(top_singular_values(matrix, 5, seed=0).values, [1, 1, 1, 1, 0], atol=EXACT)


def test_a_flat_spectrum_ends(generator):
    found = top_singular_values(permutation(generator, 2000), 64, seed=0)
    np.testing.assert_allclose(found.values, np.ones(64), atol=EXACT)
    assert found.tail == pytest.approx(2000 - 64, abs=1e-8)


def test_a_matrix_of_zeros_ends():
    found = top_singular_values(sparse.csr_array((50, 50), dtype=float), 4, seed=0)
    np.testing.assert_array_equal(found.values, np.zeros(4))
    assert found.tail == 0.0


def test_without_convergence_the_certificates_still_hold():
    """One restart on a spectrum of small gaps: values below the truth, residuals that reach a true value."""
    side, slip = 40, 0.2
    world = slow.sparse_torus(side, slip, 0.0, 0)
    expected = slow.torus_singular_values(side, slip, 0.0, 0, 1)
    found = top_singular_values(normalised(world, 1), 40, seed=0, iterations=1)
    assert not found.converged
    assert found.residuals.max() > 1e-3
    assert (found.values <= expected[:40] + EXACT).all()
    nearest = np.abs(found.values[:, None] - expected[None, :]).min(1)
    assert (nearest <= found.residuals + EXACT).all()
    assert found.tail >= (expected[40:] ** 2).sum() - EXACT
    # The matching is one to one: taken greedily from the sorted list, as both lists are sorted on a line.
    free = list(expected)
    for value in found.values[found.values > found.radius]:
        partner = min(range(len(free)), key=lambda index: abs(free[index] - value))
        assert abs(free.pop(partner) - value) <= found.radius + EXACT


def test_residuals_are_those_of_the_definition(generator):
    """On a matrix of which the leading pair is planted with a known error."""
    from jepa_scale.theory.sparse import _rayleigh_ritz

    matrix = sparse.csr_array(np.diag([1.0, 0.5, 0.25]))
    angle = 0.01
    basis = np.array([[np.cos(angle)], [np.sin(angle)], [0.0]])
    found = _rayleigh_ritz(matrix, matrix.T.tocsr(), basis)
    value = np.hypot(np.cos(angle), 0.5 * np.sin(angle))
    left = np.array([np.cos(angle), 0.5 * np.sin(angle), 0.0]) / value
    backward = np.diag([1.0, 0.5, 0.25]) @ left - value * basis[:, 0]
    assert found.values[0] == pytest.approx(value, abs=EXACT)
    assert found.residuals[0] == pytest.approx(np.linalg.norm(backward) / np.sqrt(2), abs=EXACT)
    # Here nothing was missed, so the slack covers the difference between the tail and the true one, .25 + .0625.
    assert found.tail > 0.3125
    assert found.tail - found.tail_slack <= 0.3125


def test_values_repeat_with_the_seed(generator):
    matrix = normalised(sparse_world(reference.random_world(generator, states=60)), 0)
    first, second = (top_singular_values(matrix, 8, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)


def broken(**changes):
    kernel = np.full((4, 4), 0.25)
    arguments = {"kernel": kernel, "law": np.full(4, 0.25), "policy": np.ones(1)} | changes
    return SparseWorld((sparse.csr_array(arguments["kernel"]),), arguments["law"], arguments["policy"])


def test_worlds_that_are_no_worlds_are_refused():
    short, negative, infinite = (np.full((4, 4), 0.25) for _ in range(3))
    short[2, 1], negative[0, :2], infinite[1, 1] = 0.2, (-0.25, 0.75), np.nan
    with pytest.raises(ValueError, match=r"transition\[0\].*row 2 is off by 5.00e-02"):
        broken(kernel=short)
    with pytest.raises(ValueError, match=r"probabilities ≥ 0, got -0.25"):
        broken(kernel=negative)
    with pytest.raises(ValueError, match="nan"):
        broken(kernel=infinite)
    with pytest.raises(ValueError, match="1 observations have probability 0, the first is 3"):
        broken(law=np.array([0.5, 0.25, 0.25, 0.0]))
    with pytest.raises(ValueError, match="context_law must sum to 1"):
        broken(law=np.full(4, 0.2))
    with pytest.raises(ValueError, match="policy must hold"):
        broken(policy=np.array([-1.0]))
    with pytest.raises(ValueError, match="kernel \\(N, N\\) for each action"):
        broken(policy=np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="float64"):
        broken(kernel=np.eye(4, dtype=np.float32))


def test_impossible_requests_are_refused(generator):
    matrix = permutation(generator, 5)
    for count in (0, 5):
        with pytest.raises(ValueError, match=f"count={count} for N=5"):
            top_singular_values(matrix, count, seed=0)
    with pytest.raises(ValueError, match="iterations=0"):
        top_singular_values(matrix, 2, seed=0, iterations=0)
    with pytest.raises(ValueError, match="square"):
        top_singular_values(matrix[:3], 2, seed=0)


@pytest.mark.slow
def test_ten_thousand_observations_fit_in_memory():
    """N = 10⁴: one dense N × N array alone would take 800 MB."""
    side, slip, blur, reach = 100, 0.2, 1.0, 4
    world = slow.sparse_torus(side, slip, blur, reach)
    tracemalloc.start()
    try:
        for action in range(world.actions):
            found = top_singular_values(normalised(world, action), 64, seed=action)
            expected = slow.torus_singular_values(side, slip, blur, reach, action)
            np.testing.assert_allclose(found.values, expected[:64], atol=EXACT)
            assert found.converged
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two matrices of 1.2 million entries, 14 MB each, and some 360 vectors of 80 kB.
    assert peak < 200e6
