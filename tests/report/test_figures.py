"""Figures: pure functions of the result, with captions that say what is missing."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.records import ExactLearner, RunTable
from jepa_scale.report.figures import PLOTS, compare
from jepa_scale.report.figures.bounds import points
from jepa_scale.report.figures.shared import name_lines
from jepa_scale.report.page import marks
from jepa_scale.report.page.palette import (
    DARK_CARD,
    GRAPHIC_CONTRAST,
    LIGHT_CARD,
    contrast,
    in_the_dark,
    ink_on,
    shade,
    spread,
)
from jepa_scale.report.page.style import outside, to_svg
from jepa_scale.report.summary import cells
from jepa_scale.report.wording import whole
from tests.report.planted import SIZES, WIDTHS, empty_table, sampled_result, study_result

BY_NAME = {plot.name: plot for plot in PLOTS}


def inline(plot, prefix):
    return marks.inlined(to_svg(plot.draw(study_result())), prefix)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_caption_says_what_was_left_out_and_how_many_seeds(plot):
    caption = plot.caption(sampled_result() if plot.name == "spectrum_edge" else study_result())
    assert re.search(r"[Ll]eft out|did not enter", caption)
    assert "seed" in caption


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_a_study_without_runs_has_a_sentence_for_every_figure(plot):
    empty = study_result(
        table=empty_table(), records={}, histories={}, fits=(), forecasts=(), held_out_n=None, advice=None, tuning=None
    )
    assert plot.missing(empty).endswith(".")


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    BY_NAME["regret_by_width"].draw(study_result())
    assert dict(matplotlib.rcParams) == before


def test_regret_has_one_line_per_n_and_marks_the_held_out_one():
    figure = BY_NAME["regret_by_width"].draw(study_result())
    assert not figure.legends, "lines are named where they end"
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(label for label in labels if label.startswith("n = ")) == [
        "n = 10\u202f000",
        "n = 1\u202f000",
        "n = 300",
        "n = 30\u202f000 held out",
        "n = 3\u202f000",
    ]
    assert "random plans = null action 0.44" in labels


def test_different_floors_are_two_lines():
    result = study_result()
    columns = {**result.table.columns, "regret_do_nothing": np.full(len(result.table), 0.5)}
    figure = BY_NAME["regret_by_width"].draw(replace(result, table=RunTable(columns)))
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert {"random plans 0.44", "null action 0.5"} <= labels


def test_a_tail_of_zero_is_left_out_and_said_so():
    plot = BY_NAME["risk_by_width"]
    assert "At k = 32 and 64 the tail is 0" in plot.caption(study_result())
    line = next(line for line in plot.draw(study_result()).axes[0].lines if line.get_label() == "spectral tail")
    assert list(line.get_xdata()) == [1, 4, 8, 16]


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_figures_of_a_simulator_s_study_are_drawn_or_said_to_be_missing(plot):
    result = sampled_result()
    assert plot.missing(result).endswith(".") or "<path" in to_svg(plot.draw(result))


def ends(axes):
    """Height of each label right of the axes, as a share of these, by its text."""
    return {text.get_text(): text.xy[1] for text in axes.texts if getattr(text, "xycoords", "") == "axes fraction"}


@pytest.mark.parametrize(("name", "target"), [("regret_by_width", "regret"), ("risk_by_width", "risk")])
def test_a_line_is_named_at_the_height_of_its_end(name, target):
    axes = BY_NAME[name].draw(study_result()).axes[0]
    means = cells(study_result().table, target)
    found = ends(axes)
    assert len(found) == 5
    for n in (300, 1000):
        height = means[n, 64].mean
        (_, place) = axes.transLimits.transform(axes.transScale.transform((1, height)))
        assert found[f"n = {whole(n)}"] == pytest.approx(place, abs=0.003), "apart from its neighbours, it is not moved"
    heights = sorted(found.values())
    assert min(np.diff(heights)) > 0.05


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("laws", 5),
        ("law_residuals", 5),
        ("bounds", 6),
        ("spectrum", 3),
        ("epochs", 2),
        ("forecast", 3),
        ("spectrum_edge", 2),
    ],
)
def test_lines_of_panels_are_named_beside_them(name, names):
    figure = BY_NAME[name].draw(sampled_result() if name == "spectrum_edge" else study_result())
    assert not figure.legends
    assert not any(axes.get_legend() for axes in figure.axes)
    found = [ends(axes) for axes in figure.axes]
    assert max(map(len, found)) == names
    for heights in (sorted(one.values()) for one in found if len(one) > 1):
        assert min(np.diff(heights)) > 0.05, "no name lies on another"
        assert -0.02 <= heights[0] <= heights[-1] <= 1.0


def test_names_that_are_too_many_or_too_high_are_left_to_a_legend():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    for count in range(7):
        axes.plot([0, 1], [0, count], label=f"n = {count}")
    assert not name_lines([axes])
    assert not ends(axes)
    assert name_lines([axes], most=7)
    assert len(ends(axes)) == 7
    flat = Figure(figsize=(4, 0.5)).subplots()
    for count in range(4):
        flat.plot([0, 1], [0, count], label=f"n = {count}")
    assert not name_lines([flat]), "four labels need more than the height of these axes"


def test_singular_values_have_no_line_between_their_indices():
    axes = BY_NAME["spectrum"].draw(study_result()).axes[0]
    joined = [
        line for line in axes.lines if line.get_linestyle() not in ("None", "", ":") and len(line.get_xdata()) > 2
    ]
    assert joined == []
    assert any(len(bars.get_segments()) > 8 for bars in axes.collections if hasattr(bars, "get_segments"))


def learner(regret):
    """An exact learner at two sizes and two widths, known to a thousandth."""
    return ExactLearner((300, 30000), (1, 64), np.array(regret), np.full((2, 2), 0.001), 3)


@pytest.mark.parametrize(
    ("regret", "said"),
    [
        ([[0.4, 0.3], [0.2, 0.1]], "at no n worse at k = 64 than at its best width"),
        ([[0.3, 0.4], [0.2, 0.1]], "worse than at its best width at n = 300, the networks at"),
        ([[0.3, 0.301], [0.1, 0.2]], "worse than at its best width at n = 30\u202f000, the networks at"),
    ],
)
def test_the_exact_learner_is_drawn_beside_the_networks_and_told_of(regret, said):
    plot, plain = BY_NAME["regret_by_size"], study_result()
    result = replace(plain, learner=learner(regret))
    assert said in plot.caption(result)
    assert "exact minimiser" not in plot.caption(plain)
    axes = plot.draw(result).axes[0]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 2]
    assert len(dotted) - len([line for line in plot.draw(plain).axes[0].lines if line.get_linestyle() == ":"]) == 2
    heights = ends(axes)
    assert "dotted: exact\nminimiser" in heights
    assert min(np.diff(sorted(heights.values()))) > 0.05, "no name lies on another"


def test_residuals_count_the_cells_that_were_fitted():
    result = study_result()
    fit = next(fit for fit in result.fits if fit.target == "regret")
    from jepa_scale.report.figures.law_residuals import _fitted

    inside = result.table.where(result.table["n"] < result.held_out_n)
    kept = cells_from_table(inside, "regret")
    assert len(kept) < 24, "some cells are saturated"
    assert len(_fitted(result, replace(fit, cells=len(kept)))) == len(kept)
    assert len(_fitted(result, replace(fit, cells=24))) == 24


def test_an_interval_that_was_not_widened_is_not_called_calibrated():
    result = study_result()
    plain = replace(result, forecasts=tuple(replace(item, inflation=1.0) for item in result.forecasts))
    caption = BY_NAME["forecast"].caption(plain)
    assert "Not widened, hence not calibrated: power law on risk" in caption
    assert "Widening" not in caption


def test_what_no_run_backs_is_hatched():
    result = study_result()
    surface = result.advice.surface
    figure = BY_NAME["surface"].draw(result)
    beyond = surface.n[-1] > max(result.table["n"]) or surface.k[-1] > max(result.table["k"])
    assert any(patch.get_hatch() for patch in figure.axes[0].patches) is bool(beyond)
    wider = replace(surface, n=surface.n * 100)
    advised = replace(result, advice=replace(result.advice, surface=wider))
    assert any(patch.get_hatch() for patch in BY_NAME["surface"].draw(advised).axes[0].patches)


def test_bounds_that_apply_to_no_run_are_left_out():
    figure = BY_NAME["bounds"].draw(study_result())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["T4 (Theorem 4.1)", "B1′ (dimension-free)"]
    assert "T5 (Theorem 4.2, as published)" in BY_NAME["bounds"].caption(study_result())


def test_every_finished_run_has_its_bounds():
    assert len(points(study_result())) == 3 * 89


def test_ids_of_two_figures_do_not_clash():
    plots = (BY_NAME["regret_by_width"], BY_NAME["risk_by_width"])
    found = [set(re.findall(r'\bid="([^"]+)"', inline(plot, plot.name))) for plot in plots]
    assert all(found)
    assert not found[0] & found[1]


def test_every_reference_inside_an_svg_has_its_target():
    svg = inline(BY_NAME["risk_by_width"], "here")
    wanted = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert {first or second for first, second in wanted} <= ids


def keys(svg):
    return re.findall(r'<use class="pt" data-p="([^"]+)"', svg)


@pytest.mark.parametrize("name", ["regret_by_width", "regret_by_size"])
def test_every_cell_and_every_run_can_be_asked_about(name):
    found = keys(inline(BY_NAME[name], "here"))
    cells = {f"c-{n}-{k}" for n in SIZES for k in WIDTHS}
    lost = study_result().table["status"] != "finished"
    assert {key for key in found if key.startswith("c")} == cells
    assert sorted(key for key in found if key.startswith("r")) == sorted(f"r{row}" for row in np.flatnonzero(~lost))
    assert len(found) == len(set(found)) == 30 + 89


def test_a_marker_lies_where_its_run_lies():
    """From the position in the drawing back to k and the regret, by the axes of the same figure."""
    figure = BY_NAME["regret_by_width"].draw(study_result())
    svg = marks.inlined(to_svg(figure), "here")
    data, axes = study_result().table, figure.axes[0]
    height = float(re.search(r'viewBox="0 0 [0-9.]+ ([0-9.]+)"', svg)[1])
    found = re.findall(r'data-p="r(\d+)"[^>]* x="([0-9.]+)" y="([0-9.]+)"', svg)
    assert len(found) == 89
    figure.set_dpi(72)
    for row, x, y in found:
        k, regret = axes.transData.inverted().transform((float(x), height - float(y)))
        assert k == pytest.approx(data["k"][int(row)], rel=1e-3)
        assert regret == pytest.approx(data["regret"][int(row)], abs=1e-3)


def test_a_group_whose_markers_are_not_those_of_its_keys_stays_silent():
    two = '<g id="pick:"/><g id="pick:r0 r1"><g id="a"/><g clip="x"><use x="1" y="1"/><use x="2" y="2"/></g></g>'
    two += '<use x="3" y="3"/>'
    assert keys(marks.marked(two)) == ["r0", "r1"]
    assert marks.marked(two).endswith('<use x="3" y="3"/>')
    assert keys(marks.marked(two.replace("r0 r1", "r0 r1 r2"))) == []
    assert "pick:" not in marks.marked(two) + marks.unmarked(two)


def test_bounds_carry_the_run_they_are_of():
    found = keys(inline(BY_NAME["bounds"], "here"))
    assert len(found) == 2 * 89, "two bounds apply to runs"
    assert set(found) == {f"r{row}" for row in np.flatnonzero(study_result().table["status"] == "finished")}


def test_residuals_are_in_standard_errors_of_the_mean():
    from jepa_scale.report.figures.law_residuals import _residuals
    from jepa_scale.report.figures.laws import predicted

    result = study_result()
    fit = next(fit for fit in result.fits if (fit.law, fit.target) == ("generic", "risk"))
    found = {(cell.n, cell.k): (cell, z) for cell, z in _residuals(result, fit).items()}
    cell, z = found[3000, 16]
    # The planted parameters: E = 0.3, A = 9, B = 400, alpha = 0.4, beta = 0.8; noise s0 = 0.001, c = 0.03.
    law = 0.3 + 9 * 16**-0.4 + 400 * 3000**-0.8
    assert predicted(result, fit, 3000)[16] == pytest.approx(law)
    assert z == pytest.approx((cell.mean - law) / (np.hypot(0.001, 0.03 * law) / 3**0.5))
    assert found[300, 64][0].seeds == 2


def test_noise_edge_stands_in_for_an_unknown_truth():
    plot, result = BY_NAME["spectrum_edge"], sampled_result()
    assert plot.missing(result) == ""
    assert "says more" in plot.missing(study_result())
    # Wachter's law at p = q = k, n - 1 transitions: d+ = 4 c (1 - c), c = k / (n - 1).
    share = 64 / 7999
    (line,) = [line for line in plot.draw(result).axes[0].lines if line.get_label() == "noise edge"]
    assert line.get_ydata()[0] == pytest.approx((4 * share * (1 - share)) ** 0.5)
    assert "8\u202f000 held-out transitions" in plot.caption(result)


@pytest.mark.parametrize("palette", ["viridis", "plasma"])
@pytest.mark.parametrize("count", [1, 2, 6, 20])
def test_colours_can_be_told_from_the_card_in_both_themes(palette, count):
    colors = spread(count, palette)
    assert len(set(colors)) == count
    for color in colors:
        assert contrast(color, LIGHT_CARD) >= GRAPHIC_CONTRAST
        assert contrast(in_the_dark(color), DARK_CARD) >= 0.97 * GRAPHIC_CONTRAST
    # The order is that of lightness, turned round in the dark.
    assert colors == sorted(colors, key=lambda color: -contrast(color, LIGHT_CARD))
    dark = [contrast(in_the_dark(color), DARK_CARD) for color in colors]
    assert dark == sorted(dark, reverse=True)


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    # The example of the standard's own understanding document: #777777 on white fails at 4.48.
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert in_the_dark("#ffffff") == DARK_CARD


def test_shades_of_a_table_can_be_written_on():
    for share in np.linspace(-0.1, 1.1, 50):
        ground, ink = shade(float(share))
        assert contrast(ground, ink) >= 4.5
        assert ink == ink_on(ground)


@pytest.mark.parametrize("label", ["a$b", "$x^{", "<b>&</b> --> ]]>", "a_b^c"])
def test_labels_from_outside_are_drawn_as_they_are(label):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.suptitle(outside(label))
    svg = to_svg(figure)
    assert "<b>" not in svg
    assert "<b>" not in marks.inlined(svg, "here")


def test_studies_with_long_names_are_named_in_rows_at_their_lines():
    names = ("a study whose name is far longer than a row", "another study whose name is as long as that")
    figure = compare.draw(dict.fromkeys(names, study_result()))
    assert not figure.legends
    found = ends(figure.axes[1])
    assert {label.replace("\n", " ") for label in found} == set(names)
    assert all(max(map(len, label.split("\n"))) <= 24 for label in found)
    low, high = sorted(found.values())
    assert high - low > 0.1, "two rows each need twice the room"
