from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.compare import (
    akaike_weights,
    compare,
    horizon_slope,
    likelihood_ratio,
    log_likelihoods,
    vuong,
)
from jepa_scale.laws.fit import fit
from tests.reference import laws as reference


def test_weights_choose_the_planted_law(generic, theory_free, theory_fixed):
    laws = (generic, theory_free, theory_fixed)
    noisy = {"noise": (0.0, 0.05), "generator": np.random.default_rng(2)}
    truth = {
        "generic": lambda k, n, tail: 0.2 + 1.3 * k**-0.8 + 60 * n**-0.45,
        "theory_free": lambda k, n, tail: tail + 20.0 * k**0.8 * n**-0.9,
        "theory_fixed": lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5,
    }
    for name, formula in truth.items():
        table = reference.make_table(formula, **noisy)
        weights = akaike_weights([fit(law, table, "risk", draws=5) for law in laws])
        assert sum(weights.values()) == pytest.approx(1.0)
        if name == "theory_fixed":
            # The free law holds too and pays about 6 in AICc for two parameters, which chance can halve.
            assert weights["generic"] < 1e-3
        else:
            assert max(weights, key=weights.get) == name


def test_weights_refuse_what_cannot_be_compared(generic, theory_fixed, generator):
    table = reference.observed_table("regret", generator)
    one, other = fit(generic, table, "regret", draws=2), fit(theory_fixed, table, "regret", draws=2)
    assert akaike_weights([one, replace(other, status="failed")]) == {"generic": 1.0}
    with pytest.raises(ValueError, match="same cells"):
        akaike_weights([one, replace(other, cells=12)])
    with pytest.raises(ValueError, match="one fit per law"):
        akaike_weights([one, one])
    with pytest.raises(ValueError, match="at least one converged"):
        akaike_weights([replace(one, status="failed")])


def planted(formula, seed=2, noise=0.05, **options):
    noisy = {"noise": (0.0, noise), "generator": np.random.default_rng(seed)}
    return reference.make_table(formula, **noisy, **options)


def compared(table, families, target="risk"):
    fits = [fit(family, table, target, draws=60) for family in families]
    laws = {family.name: family.on(target) for family in families}
    return compare(fits, laws, cells_from_table(table, target)), fits


def test_vuong_is_antisymmetric_and_finds_the_closer_law(generic, theory_free):
    table = planted(lambda k, n, tail: tail + 20.0 * k**0.8 * n**-0.9)
    cells = cells_from_table(table, "risk")
    pairs = [(family.on("risk"), fit(family, table, "risk", draws=2)) for family in (generic, theory_free)]
    forth, back = vuong(pairs[0], pairs[1], cells), vuong(pairs[1], pairs[0], cells)
    assert forth.z == pytest.approx(-back.z)
    assert forth.p == pytest.approx(back.p)
    assert back.z > 2
    assert vuong(pairs[0], pairs[0], cells).z == 0.0


def test_cell_likelihoods_add_up_to_the_information_criterion(generic):
    table = planted(lambda k, n, tail: 0.2 + 1.3 * k**-0.8 + 60 * n**-0.45)
    cells, law = cells_from_table(table, "risk"), generic.on("risk")
    one = fit(generic, table, "risk", draws=2)
    count, q = len(cells), 6
    penalty = 2 * q + 2 * q * (q + 1) / (count - q - 1)
    # −2 ln L of the cells, less N (1 + ln 2π) which AICc leaves out; the fit's weights are at its first pass's values.
    deviance = -2 * log_likelihoods(law, one, cells).sum() - count * (1 + np.log(2 * np.pi))
    assert deviance + penalty == pytest.approx(one.aicc, abs=0.5)


def test_fixed_exponents_are_rejected_where_they_are_wrong(theory_free, theory_fixed):
    wrong = planted(lambda k, n, tail: tail + 20.0 * k**0.8 * n**-0.9)
    right = planted(lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5)
    p = [
        likelihood_ratio(fit(theory_free, table, "risk", draws=2), fit(theory_fixed, table, "risk", draws=2))
        for table in (wrong, right)
    ]
    assert p[0] < 1e-4
    # Uniform under the law: below .001 by chance only.
    assert p[1] > 1e-3
    with pytest.raises(ValueError, match="fewer free parameters"):
        likelihood_ratio(fit(theory_fixed, right, "risk", draws=2), fit(theory_free, right, "risk", draws=2))


def test_verdicts_for_against_and_refused(generic, theory_free, theory_fixed):
    families = (generic, theory_free, theory_fixed)
    for_it, _ = compared(planted(lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5), families)
    assert for_it.verdict.status == "for"
    assert "contains the theorem's 2" in for_it.verdict.reason
    flat, _ = compared(planted(lambda k, n, tail: tail + 1e-4 * k / n), families)
    assert flat.verdict.status == "refused"
    assert "run larger k at the smaller n" in flat.verdict.reason
    alone, _ = compared(planted(lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5), (generic, theory_fixed))
    assert "no law with a free exponent p" in alone.verdict.reason
    single, _ = compared(planted(lambda k, n, tail: tail + 0.05 * k**2 * n**-0.5), (generic,))
    assert "1 law with a finite AICc" in single.verdict.reason
    assert single.akaike == {}


def test_regret_linear_in_the_horizon_has_slope_one(generator):
    horizon = np.repeat([1, 2, 4, 8], 5)
    slope = horizon_slope(horizon, 0.02 * horizon * np.exp(0.05 * generator.standard_normal(20)))
    assert slope.low < 1 < slope.high
    assert slope.high - slope.low < 0.15
    with pytest.raises(ValueError, match=r"planner\.horizon"):
        horizon_slope(np.ones(5), np.ones(5))
