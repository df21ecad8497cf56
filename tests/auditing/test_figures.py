"""Figures and page of an audit: named where they are drawn, nothing cut, nothing joined that is discrete."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

import jepa_scale
from jepa_scale.auditing import page
from jepa_scale.auditing.record import AuditQuantity
from jepa_scale.auditing.verdict import SHARE, _range
from jepa_scale.auditing.warn import shown
from jepa_scale.report.page.style import MUTED
from jepa_scale.report.wording import between
from jepa_scale.worlds.torus import Torus
from tests.auditing.test_audit import QUICK, pairs, saved, torus_arrays

PLOTS = {plot.name: plot for plot in page.PLOTS}


@pytest.fixture(scope="module")
def torus(tmp_path_factory):
    """The audit of an exact world with five actions and every figure."""
    arrays, *_ = torus_arrays(np.random.default_rng(0), Torus(4, 0.2, 0.8), 5)
    return jepa_scale.audit(saved(tmp_path_factory.mktemp("torus"), **arrays))


def words(axes):
    return [text.get_text() for text in axes.texts if isinstance(text, Annotation)]


def test_no_figure_needs_a_legend(torus):
    for plot in page.PLOTS:
        assert not plot.missing(torus)
        figure = plot.draw(torus)
        assert figure.get_figwidth() <= 9.0, "a wider figure is cut off by the page"
        assert not figure.legends
        for axes in figure.axes:
            assert axes.get_legend() is None


def test_singular_values_are_points_of_one_panel_for_each_operator(torus):
    panels = [axes for axes in PLOTS["spectrum"].draw(torus).axes if axes.axison]
    operators = {operator.name: operator for operator in torus.operators}
    assert sorted(axes.get_title(loc="left") for axes in panels) == sorted(operators)
    for axes in panels:
        operator = operators[axes.get_title(loc="left")]
        (points,) = (line for line in axes.get_lines() if line.get_marker() == "o")
        assert points.get_linestyle() == "None"
        np.testing.assert_allclose(points.get_ydata(), [value.value for value in operator.singular_values])
        assert axes.get_ylim()[0] < min(value.low for value in operator.singular_values), "no bar is cut"
        assert [text for text in words(axes) if text.startswith("noise edge")]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1)])
def test_every_panel_has_its_own_noise_edge(shares, generator, tmp_path):
    arrays = pairs(generator)
    arrays["action"] = generator.choice(2, size=4000, p=shares)
    found = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK)
    edges = []
    for axes in PLOTS["spectrum"].draw(found).axes:
        (line,) = (line for line in axes.get_lines() if line.get_linestyle() == "--")
        edges.append(line.get_ydata()[0])
    assert sorted(edges) == pytest.approx(sorted(operator.edge for operator in found.operators))


def test_many_indices_are_on_a_logarithmic_axis(torus):
    operator = torus.operators[0]
    long = replace(operator, singular_values=operator.singular_values * 10)
    for operators, scale in (((operator,), "linear"), ((long,), "log")):
        (axes,) = PLOTS["spectrum"].draw(replace(torus, operators=operators)).axes
        assert axes.get_xscale() == scale


def test_the_page_opens_with_the_energy_of_few_directions(torus, tmp_path):
    (axes,) = PLOTS["energy"].draw(torus).axes
    (points,) = (line for line in axes.get_lines() if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_ydata(), torus.verdict.curve.share)
    assert SHARE in {line.get_ydata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"}
    assert f"width needed: {between(torus.verdict.low, torus.verdict.high)}" in words(axes)
    assert f"width: {torus.verdict.width}" in words(axes)
    content = page.write_audit(torus, tmp_path).read_text()
    places = [content.index(part) for part in ('class="verdict"', 'class="next"', "figure-energy", "figure-spectrum")]
    assert places == sorted(places)
    assert "z<sub>t+1</sub>" in content
    assert "z_{t+1}" not in content


def test_energy_that_is_not_told_from_nothing_is_not_drawn(torus):
    verdict = replace(torus.verdict, energy=replace(torus.verdict.energy, low=-0.1))
    assert "told from 0" in PLOTS["energy"].missing(replace(torus, verdict=verdict))


def test_lines_by_resolution_are_named_and_their_bars_are_whole(torus):
    (axes,) = PLOTS["resolution"].draw(torus).axes
    names = words(axes)
    assert names.count("T(ε)") == 1
    assert sum(name.startswith("tail beyond k = ") for name in names) == len(names) - 1
    lows = [tail.low for item in torus.resolution for tail in (item.total, *item.tail.values())]
    assert axes.get_ylim()[0] < min(low for low in lows if low > 0)
    assert max(item.total.high for item in torus.resolution) < axes.get_ylim()[1]


def test_the_sum_s_least_and_the_tail_below_the_axis_are_told(torus):
    (axes,) = PLOTS["sizing"].draw(torus).axes
    assert {"tail", "sample term", "their sum, highest", "their sum, lowest"} <= set(words(axes))
    for least, told in ((1e-9, True), (0.1, False)):
        sizing = replace(torus.sizing, tail=tuple(max(value, least) for value in torus.sizing.tail))
        assert ("drawn at its foot" in PLOTS["sizing"].caption(replace(torus, sizing=sizing))) is told


def test_the_mean_over_actions_is_named_with_its_value(torus):
    (axes,) = PLOTS["actions"].draw(torus).axes
    (line,) = (line for line in axes.get_lines() if to_hex(line.get_color()) == MUTED)
    assert line.get_xdata()[0] == torus.total.value
    assert f"mean {torus.total.value:.3g}" in words(axes)


def test_one_number_is_no_range():
    assert [_range(2, 2), _range(2, 4), _range(2, None)] == ["2", "2 … 4", "2 … all"]
    assert [between(2, 2), between(2, 4), between(2, None)] == ["2", "2 … 4", "2 or more"]


def test_what_is_known_exactly_has_no_interval():
    assert shown(AuditQuantity(1.0, 0.0, 1.0, 1.0)) == "1"
    assert shown(AuditQuantity(1.0, 0.1, 0.8, 1.2)) == "1.00 ± 0.10 [0.80, 1.20]"
