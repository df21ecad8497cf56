"""The negative control is flat."""

import numpy as np
import pytest

from jepa_scale.theory.spectrum import singular_values, spectral_tail
from jepa_scale.worlds.deterministic_grid import DeterministicGrid


@pytest.mark.parametrize("side", [2, 3, 6])
def test_as_many_unit_singular_values_as_cells_are_reached_and_no_others(side):
    world = DeterministicGrid(side).finite
    images = [len(np.unique(kernel.argmax(-1))) for kernel in world.transition]
    assert images == [side**2] + [side**2 - side] * 4
    for values, image in zip(singular_values(world), images, strict=True):
        np.testing.assert_allclose(values, np.arange(side**2) < image, atol=1e-10)


def test_the_tail_is_a_straight_line():
    values = singular_values(DeterministicGrid(5).finite)
    tails = np.array([spectral_tail(values, k) for k in range(26)])
    widths = np.arange(26)[:, None]
    np.testing.assert_allclose(tails, np.maximum(0, [[25, 20, 20, 20, 20]] - widths), atol=1e-9)


def test_walls_leave_the_stationary_law_uniform():
    """Steps x → y and y → x are equally likely under the uniform policy, bumps included, so its chain is symmetric."""
    world = DeterministicGrid(4).finite
    chain = world.transition.mean(0)
    np.testing.assert_array_equal(chain, chain.T)
    np.testing.assert_allclose(world.context_law, 1 / 16, atol=1e-12)
    assert world.transition.sum(1).max() == 2, "one action alone merges cells, so its q_a is not uniform"


def test_moves_land_where_they_should_and_walls_hold():
    kernel = DeterministicGrid(3).kernel()
    assert kernel[0, 4, 4] == kernel[1, 4, 7] == kernel[2, 4, 1] == kernel[3, 4, 5] == kernel[4, 4, 3] == 1
    assert kernel[1, 7, 7] == kernel[2, 1, 1] == kernel[3, 5, 5] == kernel[4, 3, 3] == 1


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="side=1"):
        DeterministicGrid(1)
