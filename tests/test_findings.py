"""Findings are acted upon by code: whatever their words are, every verdict is the same."""

import ast
from pathlib import Path

import pytest

import jepa_scale
from jepa_scale.records import Finding, Parameter, findings
from jepa_scale.report.conclusions.laws import doubts
from jepa_scale.studies.view.outlook import _why_none
from tests.report.planted import theory_free

ROOT = Path(jepa_scale.__file__).parent


def named_codes():
    """Every code that some file of the package gives to ``Finding`` by name."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and node.args:
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a code is written out"
                yield node.args[0].value


def test_every_code_has_words_and_every_sentence_a_code():
    assert set(named_codes()) == set(findings.WORDS)


def test_a_code_without_words_is_refused():
    with pytest.raises(ValueError, match=r"a code of WORDS, got 'strange'"):
        Finding("strange")


@pytest.fixture
def reworded(monkeypatch):
    """Call it, and every sentence says something else."""
    return lambda: monkeypatch.setattr(findings, "WORDS", dict.fromkeys(findings.WORDS, "reworded"))


def test_rewording_changes_no_verdict_on_the_theory(reworded):
    parameter = Parameter("p", 1.2, 1.0, 1.4, False, 2.0)
    known = {
        "no_interior_optimum": Finding("no_interior_optimum", "p"),
        "wide_spread": Finding("wide_spread", "p", {"sd": 0.5, "most": 0.3}),
        "coefficient_zero": Finding("coefficient_zero", "p", {"coefficient": "B"}),
        "other parameter": Finding("coefficient_zero", "q", {"coefficient": "B"}),
        "lack_of_fit": Finding("lack_of_fit", values={"p": 0.001}),
        "moved": Finding("moved_with_weights", "p", {"first": 1.0, "second": 1.4}),
    }

    def verdicts():
        return {
            name: len(doubts(theory_free("risk", 1.2, 0.5, warnings=(one,)), parameter)) for name, one in known.items()
        }

    before = verdicts()
    assert before == dict.fromkeys(list(known)[:3], 1) | dict.fromkeys(list(known)[3:], 0)
    reworded()
    assert verdicts() == before


def test_rewording_changes_no_outlook(reworded):
    from jepa_scale.records import Forecast

    reason = Finding("no_forecast", "generic", {"status": "not identified", "why": "one size"})
    forecast = Forecast("generic", "regret", 0.9, (), 1.0, str(reason), 0.5, reason)
    before = _why_none(forecast)
    assert before == "generic is not identified: one size"
    reworded()
    assert _why_none(forecast) == before
