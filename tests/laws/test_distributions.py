"""Distributions are those of scipy.stats to the last bit: verdicts must not depend on which is imported."""

import subprocess
import sys

import pytest
from scipy import stats

from jepa_scale.laws import distributions as own

SHARES = (1e-9, 0.05, 0.5, 0.9, 0.975, 1 - 1e-9)
DEGREES = (1, 2, 7.5, 300)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("degrees", DEGREES)
def test_quantiles_and_tails_equal_those_of_scipy_stats(share, degrees):
    value = stats.t.ppf(share, degrees)
    assert own.student_quantile(share, degrees) == value
    assert own.student_below(value, degrees) == stats.t.cdf(value, degrees)
    assert own.normal_quantile(share) == stats.norm.ppf(share)
    assert own.normal_above(value) == stats.norm.sf(value)
    assert own.f_quantile(share, 3, degrees) == stats.f.ppf(share, 3, degrees)
    assert own.f_above(abs(value), 3, degrees) == stats.f.sf(abs(value), 3, degrees)
    assert own.chi_square_quantile(share, degrees) == stats.chi2.ppf(share, degrees)
    assert own.chi_square_above(abs(value), degrees) == stats.chi2.sf(abs(value), degrees)


def test_reports_and_advice_do_not_wait_for_scipy_stats_to_be_imported():
    modules = ("studies.collect", "studies.advising", "report.html", "report.compare", "report.advice")
    imports = ", ".join(f"jepa_scale.{module}" for module in modules)
    code = f"import sys, {imports}; print('scipy.stats' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
