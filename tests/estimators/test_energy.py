"""Predictable energy against closed forms, at few rows for each direction."""

import numpy as np
import pytest

from jepa_scale.estimators.energy import energy, joined, nested_size, room, total_energy, whiten


def modes(generator, rho, episodes, length):
    """Independent stationary modes; canonical correlations ρ."""
    x = [generator.normal(size=(episodes, len(rho)))]
    for _ in range(length):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * generator.normal(size=x[0].shape))
    path = np.stack(x, 1)
    now, after = (part.reshape(-1, len(rho)) for part in (path[:, :-1], path[:, 1:]))
    return now, after, np.repeat(np.arange(episodes), length)


def whitened(generator, rho, episodes=80, length=25):
    now, after, groups = modes(generator, rho, episodes, length)
    return whiten(now, 512).rows, whiten(after, 512).rows, groups


def test_all_directions_of_a_linear_map_are_the_same_energy(generator):
    now, after, groups = modes(generator, np.array([0.9, 0.5, 0.2]), 80, 25)
    mixing = generator.normal(size=(3, 3))
    plain, mixed = (
        total_energy(whiten(x, 8).rows, whiten(after, 8).rows, groups) for x in (now, now @ mixing * 1e4 + 30)
    )
    # Whitened rows are float32.
    assert mixed.value == pytest.approx(float(plain.value), abs=1e-4)
    assert mixed.standard_error == pytest.approx(float(plain.standard_error), abs=1e-4)


@pytest.mark.parametrize("width", [16, 100])
def test_the_total_is_inside_its_interval_where_a_spectrum_would_need_more_rows(width, generator):
    """2000 rows: 62 and 10 for each of p + q features, where the plug-in is 0.08 and 4.5 too high."""
    rho = 0.98 * np.arange(1, width + 1) ** -0.5
    left, right, groups = whitened(generator, rho)
    found = energy(left, right, groups)
    low, high = found.total.interval(0.999)
    assert low <= (rho**2).sum() <= high
    # Among independent features the plug-in is p q/n too high, less where they are correlated.
    excess = found.leading.whole[-1] - float(found.total.value)
    assert 0.3 * width**2 / 2000 < excess < width**2 / 2000


def test_independent_sides_have_no_energy(generator):
    left, right, groups = whitened(generator, np.zeros(40))
    found = energy(left, right, groups)
    low, high = found.total.interval(0.999)
    assert low <= 0 <= high
    # Chance puts a value above the edge in some samples, not many.
    assert found.count <= 2


def test_values_above_the_edge_are_found_and_corrected(generator):
    rho = np.append([0.95, 0.85, 0.7], np.zeros(47))
    left, right, groups = whitened(generator, rho)
    found = energy(left, right, groups)
    assert found.count == 3
    # Errors of ρ² are 2ρ(1 − ρ²)/√n: below 0.02 each.
    np.testing.assert_allclose(found.resolved.whole[2], (rho**2).sum(), atol=0.08)
    assert found.resolved.whole[-1] == found.resolved.whole[2]


def test_weights_are_repetitions(generator):
    left, right, groups = whitened(generator, np.array([0.9, 0.4]), episodes=40, length=10)
    twice = np.repeat(np.arange(len(left)), 2)
    whole = total_energy(left[twice], right[twice], groups[twice])
    weighted = total_energy(left, right, groups, np.full(len(left), 2.0))
    plain = total_energy(left, right, groups)
    assert weighted.value == pytest.approx(float(plain.value), abs=1e-6)
    # Repeated rows pass for twice as many, which the bias by p (q − V)/n shows.
    assert abs(float(whole.value - plain.value)) < 2 * 2 / len(left)


def test_directions_that_depend_on_others_are_left_out(generator):
    values = generator.normal(size=(500, 3))
    assert joined(values, values @ generator.normal(size=(3, 4)), np.ones((500, 1))).shape == (500, 3)
    assert whiten(np.ones((50, 4)), 4).rows.shape == (50, 0)


def test_fewer_rows_than_features_are_refused(generator):
    left, right, groups = whitened(generator, np.zeros(30), episodes=10, length=12)
    assert room(len(left)) < 60
    with pytest.raises(ValueError, match=r"n ≥ 2\.5 \(p \+ q\)"):
        energy(left, right, groups)


def test_the_projection_is_chosen_out_of_sample(generator):
    """All columns where rows are ample; where not, those that hold what is found on the other half."""
    ample = whitened(generator, np.array([0.9, 0.5]))
    assert nested_size(*ample) == 2
    rho = np.append([0.95, 0.9, 0.9, 0.8], np.zeros(196))
    now, after, groups = modes(generator, rho, 80, 12)
    assert nested_size(now.astype(np.float32), after.astype(np.float32), groups) < 100
