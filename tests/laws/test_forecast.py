from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.forecast import forecast
from tests.reference import laws as reference

TRUTH = (0.1, 1.3, 60.0, 0.8, 0.45)


def planted(generator=None, noise=(0.0, 0.05), **options):
    return reference.make_table(
        lambda k, n, tail: float(reference.generic(TRUTH, k, n, tail)), noise=noise, generator=generator, **options
    )


def test_held_out_values_do_not_leak(generic, theory_free, generator):
    table = reference.observed_table("risk", generator)
    changed = np.where(table["n"] == 30000, 7.0 + 3.0 * table["seed"], table["risk"])
    for law in (generic, theory_free):
        one = forecast(law, table, "risk", 30000, draws=30)
        other = forecast(law, reference.with_column(table, "risk", changed), "risk", 30000, draws=30)
        for a, b in zip(one.points, other.points, strict=True):
            assert (a.predicted, a.low, a.high, a.uncalibrated_low) == (b.predicted, b.low, b.high, b.uncalibrated_low)
            assert b.observed == pytest.approx(10.0)
        assert one.inflation == other.inflation


def test_forecast_covers_a_planted_law(generic):
    hits, total = 0, 0
    for seed in range(8):
        result = forecast(generic, planted(np.random.default_rng(seed)), "risk", 30000, draws=60)
        hits += sum(bool(point.covered) for point in result.points)
        total += len(result.points)
        assert result.inflation >= 1
        # From n ≤ 3000: two sizes do not identify generic, which has a constant.
        assert "6 forecasts from 1 origins, up to 0.52 decades" in result.inflation_source
    # Nominal .9 or more, as λ ≥ 1. The points of one table share the fit, so 48 points count as about 8: sd .11, and
    # three of these below .9 is .58.
    assert hits / total > 0.58


def test_forecast_without_noise_is_exact(generic):
    result = forecast(generic, planted(), "risk", 30000, draws=20)
    for point in result.points:
        # Parameters to 1e-6, over half a decade.
        assert point.predicted == pytest.approx(point.observed, rel=1e-5)
    assert result.extrapolation_decades == pytest.approx(np.log10(3))
    assert result.coverage == 1.0


def test_cells_that_were_not_run_are_forecast_too(theory_free, generator):
    table = reference.observed_table("risk", generator)
    result = forecast(theory_free, table, "risk", 100000, draws=20)
    assert [point.k for point in result.points] == list(reference.WIDTHS)
    assert all(point.observed is None and point.covered is None and point.seeds == 0 for point in result.points)
    assert result.coverage is None
    assert all(0 <= point.low <= point.predicted <= point.high for point in result.points)


def test_a_single_training_level_after_the_inner_split_is_said(theory_free):
    table = planted(np.random.default_rng(1), samples=(300, 1000, 3000))
    result = forecast(theory_free, table, "risk", 3000, draws=20)
    assert result.inflation == 1.0
    assert "not calibrated" in result.inflation_source
    assert "needs three sizes" in result.inflation_source
    assert len(result.points) == 6


def test_no_forecast_from_one_level(generic):
    result = forecast(generic, planted(np.random.default_rng(1), samples=(300, 1000)), "risk", 1000)
    assert result.points == ()
    assert (result.reason.code, result.reason.subject) == ("no_forecast", "generic")
    assert "not identified: 1 level of n" in result.inflation_source


def test_regret_stays_in_its_range(theory_fixed, generic, generator):
    for law in (generic, theory_fixed):
        result = forecast(law, reference.observed_table("regret", generator), "regret", 30000, draws=50)
        for point in result.points:
            assert 0 <= point.low <= point.predicted <= point.high <= 1
            assert point.low <= point.uncalibrated_low <= point.uncalibrated_high <= point.high


def test_interval_has_the_seed_noise(generic):
    # Noise-free cell means leave no bootstrap spread, so seeds that differ must alone open the interval.
    table = planted()
    jitter = np.tile([-0.1, 0.0, 0.1], len(table) // 3)
    result = forecast(
        generic, reference.with_column(table, "risk", table["risk"] * (1 + jitter)), "risk", 30000, draws=400
    )
    for point in result.points:
        half_width = (point.uncalibrated_high - point.uncalibrated_low) / 2
        # sd of a mean of 3 is .1 R/√3, times 1.645; 400 draws know a 5 % quantile to 1.645 ± .1; the heavy-tailed noise
        # likelihood reads c up to 10 % off.
        assert half_width == pytest.approx(1.645 * 0.1 / np.sqrt(3) * point.predicted, rel=0.25)
        assert point.observed_standard_error == pytest.approx(0.1 / np.sqrt(3) * point.observed, rel=1e-6)


def test_nothing_to_fit_is_refused(generic):
    with pytest.raises(ValueError, match="held_out_n=300"):
        forecast(generic, planted(), "risk", 300)
