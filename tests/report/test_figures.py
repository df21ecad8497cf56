"""Figures: pure functions of the result, with captions that say what is missing."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from jepa_scale.records import RunTable
from jepa_scale.report.figures import PLOTS, TUNING
from jepa_scale.report.figures.bounds import points
from jepa_scale.report.style import to_svg
from tests.report.planted import empty_table, study_result

BY_NAME = {plot.name: plot for plot in PLOTS}


@pytest.mark.parametrize("plot", [*PLOTS, TUNING], ids=lambda plot: plot.name)
def test_caption_says_what_was_left_out_and_how_many_seeds(plot):
    caption = plot.caption(study_result())
    assert re.search(r"[Ll]eft out|did not enter", caption)
    assert "seed" in caption


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_a_study_without_runs_has_a_sentence_for_every_figure(plot):
    empty = study_result(table=empty_table(), records={}, histories={}, fits=(), forecasts=(), held_out_n=None)
    assert plot.missing(empty).endswith(".")


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    BY_NAME["regret_by_width"].draw(study_result())
    assert dict(matplotlib.rcParams) == before


def test_regret_has_one_line_per_n_and_marks_the_held_out_one():
    figure = BY_NAME["regret_by_width"].draw(study_result())
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label for label in labels if label.startswith("n = ")] == [
        "n = 300",
        "n = 1\u202f000",
        "n = 3\u202f000",
        "n = 10\u202f000",
        "n = 30\u202f000 (held out from the fits)",
    ]
    assert "random plans = null action (0.44)" in labels


def test_different_floors_are_two_lines():
    result = study_result()
    columns = {**result.table.columns, "regret_do_nothing": np.full(len(result.table), 0.5)}
    figure = BY_NAME["regret_by_width"].draw(replace(result, table=RunTable(columns)))
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"random plans (0.44)", "null action (0.5)"} <= labels


def test_a_tail_of_zero_is_left_out_and_said_so():
    plot = BY_NAME["risk_by_width"]
    assert "At k = 32 and 64 the tail is 0" in plot.caption(study_result())
    line = next(line for line in plot.draw(study_result()).axes[0].lines if line.get_label().startswith("tail"))
    assert list(line.get_xdata()) == [1, 4, 8, 16]


def test_bounds_that_apply_to_no_run_are_left_out():
    figure = BY_NAME["bounds"].draw(study_result())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["T4 (Theorem 4.1)", "B1′ (dimension-free)"]
    assert "T5 (Theorem 4.2, as published)" in BY_NAME["bounds"].caption(study_result())


def test_every_finished_run_has_its_bounds():
    assert len(points(study_result())) == 3 * 89


def test_ids_of_two_figures_do_not_clash():
    plots = (BY_NAME["regret_by_width"], BY_NAME["risk_by_width"])
    found = [set(re.findall(r'\bid="([^"]+)"', to_svg(plot.draw(study_result()), plot.name))) for plot in plots]
    assert all(found)
    assert not found[0] & found[1]


def test_every_reference_inside_an_svg_has_its_target():
    svg = to_svg(BY_NAME["risk_by_width"].draw(study_result()), "here")
    wanted = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert {first or second for first, second in wanted} <= ids
