from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jepa_scale.laws.formula import parse
from jepa_scale.laws.law import Law, LawFamily, Shape
from jepa_scale.laws.rows import Rows
from jepa_scale.runs.instantiate import build_law
from tests.reference import laws as reference

LEAVES = sorted((Path(__file__).parents[2] / "conf" / "law").glob("*.yaml"))


def test_a_formula_is_what_it_says(generator):
    k, n, top = generator.uniform(2, 60, 7), generator.uniform(300, 3e4, 7), generator.uniform(0.3, 1.0, 7)
    columns = {"k": k, "n": n, "top": top}
    written = {
        "R = E + A k^-g + B k^p n^-q": lambda E, A, B, g, p, q: E + A * k**-g + B * k**p * n**-q,
        "R = E + A/k^g + B*k^(p)/n^(q)": lambda E, A, B, g, p, q: E + A * k**-g + B * k**p * n**-q,
        "R = c + (A k^-g + B k^p n^-0.5)^m": lambda A, B, c, g, p, m: c + (A * k**-g + B * k**p * n**-0.5) ** m,
        "R = (A k + B k^2 n^-1)^0.5": lambda A, B: np.sqrt(A * k + B * k**2 / n),
        "R = saturating(A k^-g, top)": lambda A, g: A * k**-g / (1 + A * k**-g / top),
        "R = saturating(c + (A k^-g)^m, 2.5)": lambda A, c, g, m: (lambda h: h / (1 + h / 2.5))(c + (A * k**-g) ** m),
    }
    for text, formula in written.items():
        law = Law("one", text)
        theta = generator.uniform(0.2, 1.5, (3, len(law.names)))
        for row, found in zip(theta, law.predict(theta, columns), strict=True):
            # Each power is rounded once on either side.
            np.testing.assert_allclose(found, formula(**dict(zip(law.names, row, strict=True))), rtol=1e-13)


def test_tied_exponents_are_one_parameter():
    law = Law("tied", "R = A N^-a D^-a + B D^-b")
    assert law.names == ("A", "B", "a", "b")
    assert law.predict(np.array([2.0, 0.0, 0.5, 1.0]), {"N": np.array([4.0]), "D": np.array([9.0])})[0] == 2 / 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loss", "expected '='"),
        ("loss = E + ", "a name for a coefficient"),
        ("loss = E + A N^", "an exponent"),
        ("loss = E + A N^-alpha) + B", "expected the end at"),
        ("loss = A N^-a + A D^-b", "got A twice"),
        ("loss = A N^-A", "got A twice"),
        ("loss = E + F + A N^-a", "at most one constant"),
        ("loss = E", "at least one column"),
        ("loss = A $N", "cannot read"),
        ("loss = saturating(A N^-a)", "expected ','"),
        ("loss = A N^-a + B loss^-b", "got loss twice"),
    ],
)
def test_what_is_no_law_is_refused_with_the_place(text, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace("'", "'").replace("+", r"\+")):
        parse(text)


def test_settings_must_name_exponents():
    with pytest.raises(ValueError, match="bounds names 'gamma'"):
        Law("one", "R = A k^-g", bounds={"gamma": (0, 1)})
    with pytest.raises(ValueError, match="low < high"):
        Shape("p", 2.0, 1.0)
    with pytest.raises(ValueError, match="none for 'risk'"):
        LawFamily("one", {"loss": "loss = A N^-a"}).on("risk")


def test_predict_refuses_a_wrong_number_of_parameters(generic):
    with pytest.raises(ValueError, match="5 parameters"):
        generic.on("risk").predict(np.ones(4), {"k": np.ones(1), "n": np.ones(1)})
    with pytest.raises(ValueError, match="needs the columns"):
        generic.on("risk").predict(np.ones(5), {"k": np.ones(1)})


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.stem)
def test_every_configured_law_keeps_the_contract(leaf):
    family = build_law(leaf.stem)
    assert family.name == leaf.stem
    assert family.formulas
    for target in family.formulas:
        law = family.on(target)
        assert law.target == target
        columns = {name: np.array([2.0, 64.0, 8.0]) for name in law.columns} | {"tail": np.array([2.0, 0.0, 1.0])}
        if target in ("risk", "regret"):
            assert set(law.columns) <= {"k", "n", "tail", "regret_random"}
        theta = np.stack([[1.0] * len(law.terms) + [shape.grid(5)[i] for shape in law.shapes] for i in (0, -1)])
        found = law.predict(theta, columns)
        assert found.shape == (2, 3)
        assert (found >= 0).all()


def test_predictions_follow_the_reference_formulas(generic, theory_free, generator):
    k, n, tail = np.array([2.0, 16.0, 64.0]), np.array([300.0, 3e3, 3e4]), np.array([9.3, 2.4, 0.0])
    columns = {"k": k, "n": n, "tail": tail}
    theta = generator.uniform(0.3, 2.0, 5)
    np.testing.assert_allclose(
        generic.on("risk").predict(theta, columns), reference.generic(theta, k, n, tail), rtol=1e-13
    )
    for target, formula in (("risk", reference.theory_risk), ("regret", reference.theory_regret)):
        np.testing.assert_allclose(
            theory_free.on(target).predict(theta[:4], columns), formula(theta[:4], k, n, tail), rtol=1e-13
        )


LAW = Law("chinchilla", "loss = E + A N^-alpha + B D^-beta")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"D": None}, "needs the column D; the table has N, loss"),
        ({"N": [1.0, 0.0, 3.0]}, "column N is 0 in row 1"),
        ({"N": [1.0, float("nan"), 3.0]}, "not finite in 1 of 3 rows, first in row 1"),
        ({"loss": ["a", "b", "c"]}, "expected numbers in column loss, got \\['a'\\]"),
    ],
)
def test_tables_that_a_law_cannot_read_are_refused(change, says):
    columns = {"N": [1.0, 2.0, 3.0], "D": [4.0, 5.0, 6.0], "loss": [3.0, 2.0, 1.0]} | change
    columns = {name: values for name, values in columns.items() if values is not None}
    with pytest.raises(ValueError, match=says):
        Rows.of(LAW, columns)
