"""Laws of any formula: what is read, what is refused, derivatives, and parameters that were planted."""

import numpy as np
import pytest

from jepa_scale.laws.expression import parse_expression
from jepa_scale.laws.fit import fit, fit_table
from jepa_scale.laws.general import FormulaFamily, GeneralLaw, GeneralProblem, law_of
from jepa_scale.laws.law import Law
from jepa_scale.laws.losses import HuberLog, Squares
from jepa_scale.laws.rows import Rows
from jepa_scale.laws.table import study_table
from tests.reference import laws as reference

KNOWN = frozenset({"N", "D", "C", "loss"})
N, D = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 7)))
COLUMNS = {"N": N, "D": D, "C": 6 * N * D}
FORMULAS = {
    "loss = 1.6 + A C^-alpha": (400.0, 0.15),
    "loss = E - A log(N)": (5.0, 0.1),
    "loss = E + A N^-a - B D^0.02": (4.0, 400.0, 0.34, 0.5),
    "loss = E + ((A/N)^(a/b) + B/D)^b": (1.7, 6e6, 0.3, 0.28, 3e8),
    "loss = E + min(A N^-a, 1.2) + B D^-0.3": (1.5, 200.0, 0.3, 100.0),
    "loss = exp(E - a log(N) - b log(D))": (3.0, 0.05, 0.06),
    "loss = E + A (N + D)^-a": (1.5, 400.0, 0.34),
    "loss = E + 1/(A log(N) + B log(D))": (1.5, 0.02, 0.01),
    "loss = E + saturating(A N^-a, 2)": (1.5, 400.0, 0.34),
    "loss = E + A N^-a (1 + (N/M)^5)^(-b/5)": (1.0, 30.0, 0.2, 0.3, 3e7),
}


def planted(formula, truth, noise=0.003, seed=0):
    """Law, parameters by name and a table that obeys them, with noise on the logarithm."""
    law = law_of(formula, KNOWN)
    order = list(law.names)
    theta = np.array(truth)
    scatter = noise * np.random.default_rng(seed).standard_normal(len(N))
    return law, dict(zip(order, truth, strict=True)), {**COLUMNS, "loss": law.predict(theta, COLUMNS) * np.exp(scatter)}


def truth_of(formula):
    """Parameters in the order of the formula; that of the broken power has b before M here, after it there."""
    values = FORMULAS[formula]
    return (*values[:3], values[4], values[3]) if "(N/M)" in formula else values


@pytest.mark.parametrize("formula", FORMULAS)
def test_planted_parameters_are_inside_their_intervals(formula):
    law, truth, table = planted(formula, truth_of(formula))
    assert isinstance(law, GeneralLaw)
    found = fit_table(law, table, HuberLog(0.1), draws=60, level=0.98)
    assert found.status == "converged", found.reason
    for parameter in found.parameters:
        # 98 % intervals are ± 2.3 standard errors; twice that is exceeded in none of 35 parameters.
        slack = 0.5 * (parameter.high - parameter.low)
        assert parameter.low - slack <= truth[parameter.name] <= parameter.high + slack, parameter
    predicted = law.predict(np.array([one.value for one in found.parameters]), table)
    assert np.abs(np.log(predicted / table["loss"])).max() < 0.02


@pytest.mark.parametrize("formula", [name for name in FORMULAS if "min" not in name])
def test_derivatives_are_those_of_differences(formula):
    law, _, table = planted(formula, truth_of(formula), noise=0.05)
    theta = np.array(truth_of(formula))
    problem = GeneralProblem(law, Rows.of(law, table), Squares(), np.abs(theta))
    unit, step = np.sign(theta)[None], 1e-5
    weights, target = np.ones((1, len(N))), problem.rows.target[None]
    gradient, hessian, _ = problem.curvature(problem.state(unit), weights, target, np.array([True]))
    for place in range(len(theta)):
        moved = np.zeros_like(unit)
        moved[0, place] = step
        ends = [problem.state(unit + sign * moved) for sign in (1, -1)]
        values = [problem.objective(end, weights, target)[0] for end in ends]
        slopes = [problem.curvature(end, weights, target, np.array([True]))[0][0] for end in ends]
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[0, place], rel=1e-4, abs=1e-6)
        np.testing.assert_allclose((slopes[0] - slopes[1]) / (2 * step), hessian[0, place], rtol=1e-3, atol=1e-4)


def test_a_sum_of_powers_written_so_stays_the_law_that_it_was():
    formula = "loss = E + A N^-alpha + B D^-beta"
    assert isinstance(law_of(formula, KNOWN), Law)
    general = GeneralLaw(formula, formula, KNOWN)
    _, _, table = planted(formula, (1.7, 400.0, 410.0, 0.34, 0.28), seed=3)
    ours, theirs = (fit_table(law, table, HuberLog(0.1), draws=0) for law in (general, law_of(formula, KNOWN)))
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-8)
    values = {one.name: one.value for one in theirs.parameters}
    assert {one.name: one.value for one in ours.parameters} == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("loss = 3", "at least one column"),
        ("loss = N", "at least one parameter"),
        ("loss = A loss", "on the left"),
        ("= A N", "a name for the target"),
        ("loss = A N^", "expected more"),
        ("loss = A N)", "expected the end"),
        ("loss = A log(N, D)", "1 argument of log"),
        ("loss = A min(N)", "2 arguments of min"),
        ("loss = saturating(A N, 0)", "a ceiling above 0"),
        ("loss = A.real N", "cannot read"),
        ("loss = A N; import os", "cannot read"),
        ("loss = A N + 9^9^9^9", "a power that is a finite number"),
        ("loss = A N^" + "9" * 40, "a shorter number"),
        ("loss = " + "(" * 40 + "A N" + ")" * 40, "levels of brackets"),
        ("loss = " + "-" * 40 + "A N", "signs"),
        ("loss = A N" + " + N" * 400, "at most 1000 letters"),
        ("loss = " + " + ".join(f"A{i} N^{i}" for i in range(11)), "at most 10 parameters"),
    ],
)
def test_what_is_no_formula_is_refused_with_a_message(formula, message):
    with pytest.raises(ValueError, match=message):
        GeneralLaw("law", formula, KNOWN)


def test_names_that_are_functions_of_python_are_parameters_and_run_nothing():
    law = parse_expression("loss = __import__ N^-eval + os", KNOWN)
    assert law.parameters == ("__import__", "eval", "os")


@pytest.mark.parametrize(
    ("formula", "code"),
    [
        ("loss = E + A B N^-a", "rank_deficient"),
        ("loss = E + A N^-a + Q max(N - 1e12, 0)", "no_influence"),
        ("loss = E + A N^-a + B one^-b", "too_few_levels"),
    ],
)
def test_what_the_rows_do_not_tell_apart_is_not_identified(formula, code):
    law = law_of(formula, KNOWN | {"one"})
    _, _, table = planted("loss = 1.5 + A N^-a", (400.0, 0.34))
    law = law if isinstance(law, GeneralLaw) else GeneralLaw(formula, formula, KNOWN | {"one"})
    found = fit_table(law, {**table, "one": np.ones(len(N))}, HuberLog(0.1), draws=0)
    assert (found.status, found.reason.code) == ("not_identified", code)


def test_few_rows_and_missing_numbers_are_said():
    law, _, table = planted("loss = 1.6 + A C^-alpha", (400.0, 0.15))
    few = {name: column[:3] for name, column in table.items()}
    assert fit_table(law, few, HuberLog(0.1), draws=0).reason.code == "too_few_cells"
    flat = {**table, "loss": np.full(len(N), 2.0)}
    assert fit_table(law, flat, HuberLog(0.1), draws=0).reason.code == "constant_target"
    with pytest.raises(ValueError, match="reads it: expected values above 0"):
        fit_table(law, {**table, "C": -table["C"]}, HuberLog(0.1), draws=0)


def test_bounds_hold_and_are_flagged():
    law = GeneralLaw("bound", "loss = E + A N^-a", KNOWN, {"a": (0.5, 2.0)})
    _, _, table = planted("loss = 1.5 + A N^-a", (400.0, 0.34))
    found = fit_table(law, table, HuberLog(0.1), draws=0)
    values = {one.name: one for one in found.parameters}
    assert (values["a"].value, values["a"].at_boundary) == (pytest.approx(0.5), True)
    assert ("at_bound", "a") in {(one.code, one.subject) for one in found.warnings}
    with pytest.raises(ValueError, match="bounds names 'b'"):
        GeneralLaw("bound", "loss = E + A N^-a", KNOWN, {"b": (0.5, 2.0)})


def test_a_study_is_fitted_by_any_formula_and_forecast():
    table = reference.make_table(lambda k, n, tail: 0.2 + 1.3 / k + 60 / n**0.8, seeds=3)
    table = reference.with_column(
        table, "risk", table["risk"] * (1 + 0.01 * np.random.default_rng(0).standard_normal(len(table)))
    )
    family = FormulaFamily("f", {"risk": "risk = E + A/k + 60 n^-b"}, columns=frozenset({"k", "n", "risk"}))
    found = fit(family, table, "risk", draws=40)
    assert found.status == "converged"
    values = {one.name: one for one in found.parameters}
    for name, truth in (("E", 0.2), ("A", 1.3), ("b", 0.8)):
        assert values[name].low - 0.02 <= truth <= values[name].high + 0.02
    assert found.lack_of_fit_p is not None


def test_a_table_is_back_tested_and_forecast_with_any_formula():
    law, _, table = planted("loss = E - A log(N) + B D^-0.3", (5.0, 0.1, 100.0))
    at = {"N": np.array([1e10]), "D": np.array([1e12])}
    study = study_table([law], table, HuberLog(0.1), at=at, draws=40)
    (one,) = study.laws
    expected = float(law.predict(np.array([5.0, 0.1, 100.0]), at)[0])
    assert one.forecast.plain.predicted[0] == pytest.approx(expected, rel=0.02)
    assert one.track.origins > 0
