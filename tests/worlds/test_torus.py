import numpy as np
import pytest

from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.torus import MOVES, Torus


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_singular_values_are_fourier_moduli(blur):
    side, slip = 5, 0.3
    found = singular_values(Torus(side, slip, blur).finite)
    frequency = 2 * np.pi * np.arange(side) / side
    shifts = np.array([np.exp(-1j * (frequency[:, None] * dx + frequency[None] * dy)) for dx, dy in MOVES])
    # The wrapped Gaussian by brute force over many turns.
    offset = np.arange(-60 * side, 60 * side + 1)
    weight = np.exp(-(offset**2) / (2 * blur**2)) if blur else (offset == 0).astype(float)
    blurring = (weight[:, None] * np.exp(-1j * offset[:, None] * frequency[None])).sum(0) / weight.sum()
    expected = ((1 - slip) * shifts + slip * shifts.mean(0)) * blurring[:, None] * blurring[None]
    expected = np.sort(np.abs(expected).reshape(len(MOVES), -1), axis=1)[:, ::-1]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_moves_land_where_they_should():
    kernel = Torus(side=3, slip=0.0).kernel()
    assert kernel[0, 4, 4] == 1
    assert kernel[1, 7, 1] == 1, "one down from the last row wraps to the first"
    assert kernel[4, 3, 5] == 1, "one left from the first column wraps to the last"


@pytest.mark.parametrize("settings", [{"side": 1}, {"slip": 1.5}, {"slip": -0.1}, {"blur": -1.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        Torus(**settings)
