"""Sentences follow the numbers."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from jepa_scale.laws.u_turn import u_turn
from jepa_scale.records import Finding, Parameter, RunTable, StudyResult
from jepa_scale.report.conclusions import conclusions, headline
from jepa_scale.report.parts.finetuned import changes, finetuned_table
from jepa_scale.report.summary import cells, optima
from tests.report.planted import REGRET, SIZES, WIDTHS, empty_table, law_fit, study_result, theory_free

FALLING = dict.fromkeys(SIZES, (0.43, 0.3, 0.2, 0.15, 0.1, 0.05))


def everything(result: StudyResult) -> str:
    return " ".join(one.text for group in conclusions(result).values() for one in group)


def with_column(result: StudyResult, name: str, values: np.ndarray) -> StudyResult:
    return replace(result, table=RunTable({**result.table.columns, name: values}))


def test_best_width_is_the_planted_one_with_its_place():
    turns = optima(study_result().table, "regret")
    # At n = 3000 the planted means at k = 16 and 32 differ by 10 %, three times the planted scatter of a seed.
    assert (turns[3000].best.k, turns[3000].place, turns[3000].established) == (16, "interior", True)
    assert [n for n, turn in turns.items() if turn.established] == [1000, 3000], "300 is interior, and within chance"
    assert (turns[30000].place, turns[30000].shared_by) == ("plateau", (16, 32, 64))


def test_differences_are_those_of_the_laws_package():
    result = study_result()
    ours, theirs = optima(result.table, "regret"), {turn.n: turn for turn in u_turn(result.table, "regret")}
    for n in SIZES:
        assert ours[n].best.k == theirs[n].best_k
        assert ours[n].below.value == pytest.approx(theirs[n].narrowest.mean)
        assert ours[n].below.standard_error == pytest.approx(theirs[n].narrowest.welch_standard_error)


def test_rounding_does_not_choose_between_perfect_widths():
    result = study_result()
    regret = result.table["regret"].copy()
    regret[(result.table["n"] == 30000) & (result.table["k"] == 16)] = 3e-17
    turn = optima(with_column(result, "regret", regret).table, "regret")[30000]
    assert turn.best.k == 16
    assert turn.place == "plateau"


def test_standard_error_is_that_of_the_mean_over_seeds():
    result = study_result()
    rows = (result.table["n"] == 1000) & (result.table["k"] == 8)
    values = result.table["regret"][rows]
    cell = cells(result.table, "regret")[1000, 8]
    assert cell.mean == pytest.approx(values.mean())
    assert cell.standard_error == pytest.approx(values.std(ddof=1) / 3**0.5)


@pytest.mark.parametrize(
    ("regret", "said"),
    [
        (REGRET, "inside the grid at 3 of 5 sample sizes"),
        (FALLING, "this study shows no interior best width"),
    ],
    ids=["interior", "edge"],
)
def test_interior_or_edge(regret, said):
    assert said in headline(study_result(regret))


def test_edge_says_that_the_best_may_lie_beyond():
    assert "the largest of the grid: the best width may lie beyond it" in everything(study_result(FALLING))


def test_growth_of_the_best_width_is_read_off():
    growing = {
        n: tuple(0.1 + 0.05 * abs(i - place) for i in range(6)) for n, place in zip(SIZES, (1, 2, 3, 4, 4), strict=True)
    }
    assert "k*(n) is 4, 8, 16, 32 and 32" in everything(study_result(growing))
    assert "it grows with n, as T6 predicts" in everything(study_result(growing))
    shrinking = {n: growing[m] for n, m in zip(SIZES, reversed(SIZES), strict=True)}
    assert "against what T6 predicts" in everything(study_result(shrinking))


def test_target_reached_by_the_cell_with_the_least_data():
    assert "is n = 10\u202f000, k = 8 with 0.00" in headline(study_result())
    assert "The target regret of 0.02 was not reached: the lowest mean is 0.0" in headline(study_result(FALLING))


def test_coverage_counts_change_with_the_observations():
    result = study_result()
    assert (
        "0 of 6 for power law on risk; 0 of 6 for power law on regret; 6 of 6 for theory with free exponents on risk"
        in headline(result)
    )
    forecast = next(item for item in result.forecasts if item.law == "theory_free" and item.target == "regret")
    missed = replace(forecast.points[1], observed=0.9)
    points = (forecast.points[0], missed, *forecast.points[2:])
    text = everything(replace(result, forecasts=(replace(forecast, points=points),)))
    assert "5 of 6 held-out cells inside the 90 % interval" in text
    assert "(missed: k = 4)" in text


def test_a_forecast_that_has_not_been_observed_is_not_counted():
    forecast = study_result().forecasts[0]
    points = tuple(replace(point, observed=None, observed_standard_error=None) for point in forecast.points)
    assert "none of 6 forecast cells has been run" in everything(
        study_result(forecasts=(replace(forecast, points=points),))
    )


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (1.95, "the interval contains the theory's 2"),
        (1.2, "below the theory's 2; the predicted rate is not what this study shows, though an upper bound allows"),
        (3.0, "above the theory's 2; the predicted rate is not what this study shows, on the side that even an upper"),
    ],
)
def test_exponent_against_the_theory(p, said):
    assert said in everything(study_result(fits=(theory_free("risk", p, 0.5),)))


@pytest.mark.parametrize(
    "warning",
    [
        Finding("no_interior_optimum", "p"),
        Finding("coefficient_zero", "p", {"coefficient": "B"}),
        Finding("wide_spread", "p", {"sd": 0.5, "most": 0.3}),
    ],
    ids=lambda finding: finding.code,
)
def test_exponent_that_the_grid_cannot_test(warning):
    text = everything(study_result(fits=(theory_free("risk", 1.2, 0.5, warnings=(warning,)),)))
    assert f"this grid cannot say ({warning})" in text
    assert "contains the theory's 0.5" in text


def test_a_warning_on_lack_of_fit_is_not_one_on_p():
    missed = Finding("lack_of_fit", values={"p": 0.001})
    fit = theory_free("risk", 1.2, 0.5, warnings=(missed,), lack_of_fit_p=0.001)
    text = everything(study_result(fits=(fit,)))
    assert "cannot say" not in text
    assert "missed by more than seeds scatter: theory with free exponents on risk (p = 0.001, 24 cells)" in text


@pytest.mark.parametrize(
    ("aicc", "said"), [(119.0, "calls it a tie"), (110.0, "prefers power law over theory with free exponents by 10")]
)
def test_preference_or_tie(aicc, said):
    generic = law_fit("generic", "risk", (Parameter("E", 0.3, 0.2, 0.4, False, None),), aicc=aicc)
    assert said in headline(study_result(fits=(theory_free("risk", 2, 0.5), generic)))


def test_fits_on_different_cells_are_not_compared():
    generic = law_fit("generic", "risk", (), cells=20)
    assert "AICc cannot compare laws: 1 law with a finite AICc on the same cells" in everything(
        study_result(fits=(theory_free("risk", 2, 0.5), generic))
    )


def test_bounds_are_called_vacuous_with_their_value():
    text = everything(study_result())
    assert (
        "T4 (Theorem 4.1) applies to 89 of 89 runs and is vacuous in 89 of these; its lowest value is vacuous (5."
        in text
    )
    assert "T5 (Theorem 4.2, as published) applies to none of 89 runs" in text
    assert "no bound that applies lies below the regret" in text
    assert "VIOLATION" not in text


def with_bound(result: StudyResult, value: float, applies: bool) -> StudyResult:
    run = "003000001000"
    entry = {**result.records[run].bounds[0], "value": value, "applies": applies}
    record = replace(result.records[run], bounds=(entry,))
    return replace(result, records=MappingProxyType({**result.records, run: record}))


def test_a_violated_bound_is_loud():
    text = headline(with_bound(study_result(), 0.1, True))
    assert "VIOLATION: T4 (Theorem 4.1) applies but lies below the regret in 1 of 89 runs, at worst 0.1" in text


def test_a_bound_that_does_not_apply_may_lie_below():
    assert "VIOLATION" not in everything(with_bound(study_result(), 0.1, False))


def test_risk_below_the_tail_is_a_contradiction():
    result = study_result()
    risk = np.where(result.table["k"] == 1, 9.0, result.table["risk"])
    # 15 runs have k = 1, where the planted tail is 9.256.
    assert "In 15 of 90 runs the exact risk lies below the spectral tail" in everything(
        with_column(result, "risk", risk)
    )


def test_failures_are_counted():
    text = everything(study_result())
    assert "89 of 90 runs finished" in text
    assert "1 run diverged and entered no mean; 1 run without a record" in text
    assert "Cells with fewer than 3 seeds: n = 300, k = 64 (2)" in text


def test_one_seed_has_no_standard_error():
    text = everything(study_result(seeds=(0,)))
    assert "(1 seed, no standard error)" in text
    assert "whether that exceeds the scatter of seeds cannot be said" in text
    assert "nan" not in text.lower().replace("nuisance", "")


def test_without_fits_and_hold_out():
    text = headline(study_result(fits=(), forecasts=(), held_out_n=None))
    assert "No law was fitted." in text
    assert "Nothing was held out" in text


def test_all_diverged():
    lost = tuple((n, k, seed) for n in SIZES for k in WIDTHS for seed in (0, 1, 2))
    text = everything(study_result(diverged=lost, fits=(), forecasts=()))
    assert "0 of 90 runs finished" in text
    assert "No run finished with a regret" in text


def test_empty_study():
    text = everything(study_result(table=empty_table(), records={}, histories={}, fits=(), forecasts=()))
    assert text == "The study has no runs yet. 1 run without a record."


def test_fine_tuning_is_judged_run_by_run():
    """Every run improved by 0.01 ± little, whatever the scatter between seeds, but where it was made worse."""
    result = study_result()
    assert "Fine-tuning" not in conclusions(result)
    regrets = result.table["regret"]
    little = 1e-4 * np.arange(len(regrets))
    gained = with_column(result, "regret_pretrained", regrets + 0.01 + little)
    found = changes(gained.table)
    assert set(found) == set(cells(result.table, "regret"))
    assert found[3000, 16].mean == pytest.approx(-0.01, abs=0.012)
    assert "in 30 of 30 cells and raised it in 0" in conclusions(gained)["Fine-tuning"][0].text
    spoilt = with_column(
        result, "regret_pretrained", regrets + np.where(result.table["n"] == 300, -0.02, 0.01) + little
    )
    assert "in 24 of 30 cells and raised it in 6" in conclusions(spoilt)["Fine-tuning"][0].text
    same = with_column(result, "regret_pretrained", regrets)
    assert "in 0 of 30 cells and raised it in 0." in conclusions(same)["Fine-tuning"][0].text
    lone = study_result(seeds=(0,), diverged=())
    lone = with_column(lone, "regret_pretrained", lone.table["regret"] + 0.01)
    assert "whether that is chance cannot be said" in conclusions(lone)["Fine-tuning"][0].text
    assert finetuned_table(result.table) == ""
    assert finetuned_table(gained.table).count("<tr>") == 31
