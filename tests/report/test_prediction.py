"""Pages of studies of recordings: what is concluded of predictions, and their advice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from jepa_scale.records import Arm
from jepa_scale.records.quantities import read_target
from jepa_scale.report.conclusions import arms as arm_conclusions
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.conclusions.prediction import conclude
from jepa_scale.report.figures import ARMS
from jepa_scale.report.figures.shared import label_levels
from jepa_scale.report.figures.sizes import draw, missing
from jepa_scale.report.summary import subject
from jepa_scale.studies.table import about_target
from tests.report.planted import SIZES, study_result


def result_of(scale=1.0, copy=1.0, encoder=0.1, regrets=None):
    """Errors are twice the planted regrets; nothing was planned."""
    planned = study_result() if regrets is None else study_result(regrets)
    table = planned.table
    error = 2 * scale * table["regret"].astype(float)
    columns = {
        "prediction": error,
        "prediction_encoder": encoder * error,
        "prediction_copy": np.full(len(table), copy),
        "regret": np.full(len(table), np.nan),
        "regret_random": np.full(len(table), np.nan),
        "regret_do_nothing": np.full(len(table), np.nan),
    }
    return replace(
        planned, table=replace(table, columns={**table.columns, **columns}), target=read_target("prediction"),
        score="none", target_regret=0.02, tuning=None, advice=None, judged=(),
    )  # fmt: skip


def test_the_verdict_is_of_the_prediction_error():
    found = answer(result_of())
    assert found[0].startswith(
        "Enough at n = 10\u202f000: k = 8, 16, 32 and 64 reach a prediction error of 0.02, best 0 "
    )
    assert "24 of 24 cells" not in found[1]
    assert "where a copy of the start has 1." in found[1]


def test_errors_above_the_copy_are_called_untrained():
    result = result_of(scale=1e6)
    worst = replace(
        result,
        table=replace(
            result.table, columns={**result.table.columns, "prediction": result.table["prediction"].astype(float) + 2}
        ),
    )
    assert answer(worst)[0].startswith(
        "Untrained: no cell is better than a copy of the start, whose prediction error is 1"
    )
    (only,) = conclude(worst)
    assert only.alarm
    assert "No cell predicts observations better than a copy of the start" in only.text


def test_the_width_is_blamed_only_where_a_wider_one_did_better():
    assert not any("before anything is predicted" in one.text for one in conclude(result_of(encoder=0.1)))
    (_, blamed) = conclude(result_of(encoder=0.9))
    assert "at k = 1, 4 and 8: a wider latent helps there" in blamed.text
    # The narrowest but one is the best: those beyond it are not to be wider still.
    (_, turning) = conclude(result_of(encoder=0.9, regrets=dict.fromkeys(SIZES, (0.4, 0.05, 0.1, 0.15, 0.2, 0.3))))
    assert "at k = 1: a wider latent helps there" in turning.text


def test_the_figure_is_drawn_of_it():
    result = result_of()
    assert subject(result) == "prediction"
    assert missing(result) == ""
    assert "prediction error" in draw(result).axes[0].get_ylabel()
    assert subject(study_result()) == "regret"


def test_a_table_about_predictions_ends_at_the_mean():
    result = result_of(scale=10.0)
    table = about_target(result.table, result.target)
    expected = np.minimum(result.table["prediction"].astype(float), 1.0)
    np.testing.assert_array_equal(table["regret"], expected)
    assert (table["regret_random"] == 1.0).all()
    assert about_target(result.table, read_target("regret")) is result.table


@pytest.mark.parametrize("target", ["success", "loss"])
def test_advice_is_given_on_what_has_a_known_end(target):
    assert not read_target(target).advised


def test_arms_of_recordings_are_compared_by_their_prediction_errors():
    arms = []
    for name, scale in (("ema", 1.0), ("vicreg", 2.0)):
        one = result_of(scale=scale)
        errors = dict(zip(one.table["run_id"], one.table["prediction"], strict=True))
        records = {
            key: replace(record, final={"observed/model/mean": float(errors[key])})
            for key, record in one.records.items()
        }
        arms.append(Arm(name, name, {"objective": name}, replace(one, records=records)))
    whole = replace(arms[0].result, arms=tuple(arms))
    first, *others = arm_conclusions.conclude(whole)
    assert first.text.startswith("The lowest mean prediction error is 0 in all 3 seeds, of ema at ")
    assert not others, "nothing is said of a regret that is not there"
    assert ARMS.missing(whole) == ""
    axes = ARMS.draw(whole).axes[0]
    assert axes.get_ylabel().startswith("prediction error")
    marked = [line for line in axes.lines if line.get_marker() not in ("None", "", "_", "|")]
    assert marked
    assert all(line.get_linestyle() == "None" for line in marked), "objectives have no order"


def test_names_of_levels_that_lie_close_do_not_lie_on_each_other():
    axes = Figure().subplots()
    axes.set_ylim(0, 1)
    label_levels(axes, [(0.2, "target", ":"), (0.9, "random", "--"), (0.93, "idle", "-.")])
    sides = {text.get_text().split()[0]: text.get_verticalalignment() for text in axes.texts}
    assert sides == {"target": "bottom", "random": "top", "idle": "bottom"}
