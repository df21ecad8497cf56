"""The section on tuning: what it says follows from the planted check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.records import TuningRun
from jepa_scale.report.conclusions import headline
from jepa_scale.report.conclusions.tuning import conclude
from jepa_scale.report.figures import PLOTS
from jepa_scale.report.html import write_report
from jepa_scale.report.parts.tables_tuning import rates
from tests.report.planted import study_result, tuning_check

TUNING = next(plot for plot in PLOTS if plot.name == "tuning")


def said(**changes):
    return " ".join(one.text for one in conclude(study_result(**changes)))


def test_a_small_loss_cannot_make_the_u_turn():
    """The planted U-turn at n = 3000 is 0.034 at k = 64."""
    text = said(tuning=tuning_check(lost_at_64=0.002))
    assert "0.0035 at k = 64: it moves by a factor of 2 over the widths" in text
    assert "n = 3\u202f000, k = 64: the study finds this width worse than the best by 0.03" in text
    assert "At k = 64 it is the last of the list" in text
    assert "the best rate may lie beyond the list, so a mistuned width cannot be excluded" in text
    inside = tuning_check(lost_at_64=-0.01)
    assert "k = 64: the study finds" in said(tuning=inside)
    assert "finds that the shared learning rate costs 0 there: a mistuned width cannot make all of it" in said(
        tuning=inside
    )


def test_a_loss_of_the_size_of_the_u_turn_is_an_alarm_in_the_opening_paragraph():
    result = study_result(tuning=tuning_check(lost_at_64=0.05))
    (verdict,) = [one for one in conclude(result) if "k = 64: the study finds" in one.text]
    assert verdict.alarm
    assert "a mistuned width could make all of it" in verdict.text
    assert "At k = 64 a lower rate does better by more than 2 SE" in said(tuning=result.tuning)
    assert "a lower rate does better" not in said(tuning=tuning_check(lost_at_64=-0.01))
    assert "each width at its best rate, no other width does better: no cost is left" in verdict.text
    assert verdict.text in headline(result)


def test_one_seed_decides_nothing():
    assert "with one seed, whether that can make all of it cannot be said" in said(
        tuning=tuning_check(lost_at_64=-0.01, seeds=(100,))
    )


def test_without_a_check_the_report_says_so(tmp_path):
    result = study_result(tuning=None)
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert page.count("The learning rate was not checked per width") == 1
    assert not (tmp_path / "figures" / "tuning.png").exists()


def test_budget_and_check_are_on_the_page(tmp_path):
    page = write_report(study_result(), tmp_path).read_text(encoding="utf-8")
    assert "fixed_steps: the same 1000 optimiser steps at every n." in page
    assert "<h3>Learning rate</h3>" in page
    assert "seeds 100, 101, which enter no other table" in page


@pytest.mark.parametrize("lost", [(64, 0.007), (1, 0.014)], ids=["shared", "other"])
def test_lost_runs_are_not_numbers(lost):
    check = tuning_check()
    runs = tuple(
        TuningRun(run.k, run.rate, run.seed, np.nan, np.nan) if (run.k, run.rate) == lost else run for run in check.runs
    )
    result = study_result(tuning=replace(check, runs=runs, unfinished=("tuning: n=3000, k=1: not run yet",)))
    page = rates(result) + said(tuning=result.tuning) + TUNING.caption(result)
    assert "nan" not in page
    assert "2 runs that diverged; 1 run without a record" in page
    TUNING.draw(result)


def test_a_check_without_runs_is_a_sentence():
    check = replace(tuning_check(), runs=(), unfinished=("tuning: n=3000, k=1: not run yet",))
    assert "No width has" in said(tuning=check)
    assert TUNING.missing(study_result(tuning=check)) == "No run of the check finished."


def test_a_setting_without_a_label_keeps_its_words():
    check = replace(tuning_check(), key="trainer.steps_per_epoch")
    assert check.label == "steps per epoch"
    page = " ".join(one.text for one in conclude(replace(study_result(), tuning=check)))
    assert "shared steps per epoch" in page
    assert "trainer." not in page
