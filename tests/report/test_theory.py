"""The page about the theory: complete, offline, escaped, and honest about what fails."""

import html
import io
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Annotation
from rich.console import Console

from jepa_scale.report.figures import learning, looseness, tightness
from jepa_scale.report.theory import (
    fails,
    headline,
    rows,
    spectrum_table,
    statements_table,
    verdict,
    widths_table,
    write_theory,
)
from jepa_scale.report.wording import number
from jepa_scale.theory.check import Findings, Tally, attack_theory
from jepa_scale.theory.learners import fit_shared
from jepa_scale.theory.learning_curve import learning_curve
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.spectrum import singular_values, spectral_tail
from jepa_scale.theory.statements import STATEMENTS, statement
from jepa_scale.theory.tightness import MANY_STEPS
from jepa_scale.theory.tightness import tightness as measure
from jepa_scale.theory.trial import from_json
from jepa_scale.worlds.families import FAMILIES
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.survey import Survey, widths_of
from jepa_scale.worlds.torus import Torus
from tests.report.test_page import Page


@pytest.fixture(scope="module")
def small():
    """A survey of seconds: two families, tiny worlds."""
    families = {name: FAMILIES[name] for name in ("dirichlet", "permutation")}
    worlds = [Torus(side, 0.2, 0.5).finite for side in (2, 3)]
    curve = learning_curve(
        worlds[1], PlanningProblem(), (100, 1000), (1, 4, 9), 3, np.random.default_rng(0), fit_shared
    )
    return Survey(
        findings=attack_theory(families, 60, seed=0, models=("svd", "gauged")),
        trials=60,
        by_states=tuple(measure(world, 2) for world in worlds),
        by_width=widths_of(worlds[1]),
        by_horizon=tuple(measure(worlds[0], 2, PlanningProblem(horizon), names=MANY_STEPS) for horizon in (1, 2)),
        torus_curve=curve,
        nuisance_curve=curve,
    )


def shown(table, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_page_is_whole_and_offline(small, tmp_path):
    page = write_theory(small, tmp_path)
    content = page.read_text()
    found = Page(content)
    assert not found.open
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith("#") or (tmp_path / link).is_file() for link in found.links)
    assert not {"link", "iframe", "img", "object"} & found.tags
    for claim in STATEMENTS:
        assert html.escape(claim.label) in content
    for module in (tightness, learning, looseness):
        assert module.TITLE in content
        assert (tmp_path / "figures" / f"{module.NAME}.png").read_bytes().startswith(b"\x89PNG")


def test_counterexamples_are_files_that_replay(small, tmp_path):
    (tmp_path / "counterexamples").mkdir()
    (tmp_path / "counterexamples" / "b1.json").write_text("{}")
    write_theory(small, tmp_path)
    files = {path.stem: path for path in (tmp_path / "counterexamples").glob("*.json")}
    assert set(files) == {"t4_published", "t5"}, "one of an earlier attack must go"
    for name, path in files.items():
        trial, read = from_json(path)
        assert read == name
        outcome = statement(name).evaluate(trial)
        assert outcome.refutes
        numbers = json.loads(path.read_text())
        assert (outcome.bound.value, outcome.actual) == (numbers["bound"], numbers["actual"])


def test_the_numbers_are_all_in_one_file(small, tmp_path):
    write_theory(small, tmp_path)
    numbers = json.loads((tmp_path / "findings.json").read_text())
    assert {entry["statement"] for entry in numbers["tallies"]} == {claim.name for claim in STATEMENTS}
    total = sum(entry["violations"] for entry in numbers["tallies"] if entry["statement"] == "t4_published")
    assert total == small.findings.total("t4_published").violations > 0
    assert len(numbers["tightness"]["by_states"]) == 2
    assert [entry["n"] for entry in numbers["learning"]["torus"]] == [100] * 3 + [1000] * 3
    assert set(numbers["learning"]["torus"][0]) >= {"k", "risk", "risk_standard_error", "regret", "datasets"}


def test_the_same_survey_is_the_same_page(small, tmp_path):
    pages = [write_theory(small, tmp_path / name).read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_the_terminal_table_fits_eighty_columns(small):
    large = {key: replace(tally, trials=10**6, met=10**6) for key, tally in small.findings.tallies.items()}
    for findings in (small.findings, replace(small.findings, tallies=large)):
        text = shown(statements_table(findings))
        assert "…" not in text
        assert all(len(line) <= 80 for line in text.splitlines())
        for claim in STATEMENTS:
            assert claim.label in text


def test_the_verdict_names_what_fails_with_its_counterexample(small):
    text = verdict(small.findings)
    assert "T4 as published FAILS" in text
    assert "T5 as published FAILS" in text
    assert "smallest counterexample N = 2, |A| = 2" in text
    held = text.split("T4 as published FAILS")[0]
    assert "B1′" in held
    assert "T5 as published" not in held


def test_a_statement_that_may_fail_by_chance_fails_only_beyond_chance():
    claim = statement("b4")
    for violations, expected in ((0, False), (50, False), (68, False), (80, True)):
        assert fails(claim, Tally(trials=1000, met=1000, violations=violations)) is expected
    assert fails(statement("b1"), Tally(trials=1000, met=1000, violations=1))
    assert not fails(claim, Tally())


def test_a_statement_whose_hypotheses_nobody_met_has_no_numbers():
    findings = Findings({("b1", "dirichlet", "svd"): Tally(trials=7)}, {}, 0)
    row = next(row for claim, row in zip(STATEMENTS, rows(findings), strict=True) if claim.name == "b1")
    assert row[2:4] == ("7", "0")
    assert row[6:] == ("–", "–", "–")
    assert "B1" not in verdict(findings)


def test_your_world_shows_every_bound_and_the_goals_out_of_reach():
    world = Torus(4, 0.2, 0.0).finite
    problem = PlanningProblem(1, "uniform")
    text = shown(widths_table(widths_of(world, problem), problem))
    for part in ("N = 16", "T = 1", "uniform goals", "T4", "B1′", "B5", "vacuous", "No plan reaches the goal from"):
        assert part in text
    reachable = PlanningProblem(2)
    text = shown(widths_table(widths_of(world, reachable), reachable))
    assert "B3" in text
    assert "No plan" not in text


def test_your_world_shows_tails_by_action_in_eighty_columns():
    """The numbers are those of the theory; the widest width below N is among them however many there are."""
    world = Torus(4, 0.2, 0.4).finite
    lines = shown(spectrum_table(world, "same_action")).splitlines()
    tails = [float(spectral_tail(singular_values(world), k)[1]) for k in (0, 1, 2, 4, 8)]
    (row,) = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│ 1 ")]
    assert row[2:] == [number(tail) for tail in tails]
    assert row[1] == number(float(singular_values(world)[1, 1]))
    large = LowRank(states=600, action_count=2).finite
    text = shown(spectrum_table(large, "pooled"))
    for part in ("k=0", "k=2", "k=8", "k=512", "shared", "pooled negatives"):
        assert part in " ".join(text.split())
    assert "…" not in text


def test_the_world_of_one_state_has_no_second_singular_value():
    one = FAMILIES["single_state"](np.random.default_rng(0), 1)
    assert "–" in shown(spectrum_table(one, "same_action"))


def test_figures_draw_what_they_are_given(small):
    axes = tightness.draw(small).axes
    for panel, points in zip(axes, (small.by_states, small.by_width, small.by_horizon), strict=True):
        lines = {line.get_label(): line for line in panel.get_lines()}
        regrets = [max(point.regret, tightness.FLOOR) for point in points]
        np.testing.assert_allclose(lines["regret"].get_ydata(), regrets)
    np.testing.assert_allclose(
        next(line for line in axes[0].get_lines() if line.get_label() == "T4").get_ydata(),
        [next(bound.value for bound in point.bounds if bound.name == "t4") for point in small.by_states],
    )
    labels = [label.get_text() for label in looseness.draw(small).axes[0].get_yticklabels()]
    assert labels[::-1] == [claim.label for claim in STATEMENTS if small.findings.total(claim.name).looseness]


def labels_beside(axes):
    """Height of each label beside the axes, as a share of these, by its text."""
    return {text.get_text(): text.xy for text in axes.texts if isinstance(text, Annotation)}


def test_bounds_are_named_at_their_ends_and_where_they_are_apart(small):
    """By width all lines end in a regret of 0, so that their names stand at the beginnings."""
    figure = tightness.draw(small)
    assert figure.get_figwidth() <= 9.0, "a wider figure is cut off by the page"
    for panel, points, edge in zip(
        figure.axes, (small.by_states, small.by_width, small.by_horizon), (1, 0, 1), strict=True
    ):
        assert panel.get_legend() is None
        found = labels_beside(panel)
        assert len(found) == len(points[0].bounds) + 1
        assert {x for x, _ in found.values()} == {edge}
        lines = {line.get_label(): line.get_ydata()[-edge] for line in panel.get_lines()}
        in_order = sorted(found, key=lambda name: found[name][1])
        values = [lines[name] for name in in_order]
        assert values == sorted(values), "the order of the names is that of the lines"


def test_the_regret_of_an_exact_model_stands_on_a_named_floor(small):
    axes = tightness.draw(small).axes[0]
    formatter = axes.yaxis.get_major_formatter()
    assert [formatter(value) for value in (1e-5, 1e-4, 0.01, 10)] == ["≤ 0.00001", "0.0001", "0.01", "10"]


def test_ticks_of_sizes_do_not_touch():
    assert tightness._apart([16, 64, 144, 256, 400, 576]) == [16, 64, 144, 256, 576]
    assert tightness._apart([1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]


def test_a_best_width_without_a_range_has_none(small):
    found = learning.caption(small)
    for width in (1, 4, 9):
        assert f"({width}–{width})" not in found
    assert learning._range(4, 9) == " (4–9)"


def test_the_page_opens_with_its_verdict_and_the_next_command(small, tmp_path):
    content = write_theory(small, tmp_path).read_text()
    assert headline(small.findings) in html.unescape(content)
    assert content.index('class="verdict"') < content.index('class="next"') < content.index("figure-looseness")
    first = next(iter(small.findings.counterexamples))
    assert f"theory --replay counterexamples/{first}.json" in content
    assert (tmp_path / "counterexamples" / f"{first}.json").is_file()


def test_the_headline_counts_what_held_and_names_what_failed():
    met = Tally(trials=9, met=9)
    tallies = {("b1", "torus", "svd"): met, ("b2", "torus", "svd"): met, ("b3", "torus", "svd"): Tally(trials=9)}
    assert headline(Findings(tallies, {}, 0)) == "2 of 2 statements held on random worlds."
    tallies["b2", "torus", "svd"] = replace(met, violations=1)
    assert headline(Findings(tallies, {}, 0)) == "1 of 2 statements held on random worlds; B2 fails."


def test_ratios_at_the_edge_are_counted():
    beyond = Tally(trials=3, met=3, looseness=[2.0, 1e10, 1e-3])
    survey = SimpleNamespace(findings=Findings({("b1", "torus", "svd"): beyond}, {}, 0))
    assert "2 ratios outside 0.01 to 10⁹ are drawn at the edge" in looseness.caption(survey)
    within = SimpleNamespace(findings=Findings({("b1", "torus", "svd"): replace(beyond, looseness=[2.0])}, {}, 0))
    assert "Every ratio lies within the axis" in looseness.caption(within)


def test_captions_say_where_the_numbers_come_from(small):
    assert "means over 3 data sets" in learning.caption(small)
    assert "n = 1\u202f000" in learning.caption(small)
    assert "no error bars" in tightness.caption(small)
    assert "Nothing to draw for" in looseness.caption(small)
    assert not math.isnan(tightness.FLOOR)
