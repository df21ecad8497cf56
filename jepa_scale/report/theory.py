"""Report on the theory: which statements hold, where, and how tight the bounds are."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jepa_scale.files import write_whole
from jepa_scale.records import Negatives
from jepa_scale.report.figures import learning, looseness, tightness
from jepa_scale.report.page.markup import document, paragraph, section, table, text
from jepa_scale.report.page.plot import place_figure
from jepa_scale.report.wording import bound, listed, number, percent, plural, whole
from jepa_scale.theory.check import Findings, Tally
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.learning_curve import LearningCurve
from jepa_scale.theory.planning import PlanningProblem
from jepa_scale.theory.replay import replay
from jepa_scale.theory.spectrum import singular_values, spectral_tail, stacked_singular_values
from jepa_scale.theory.statements import STATEMENTS, Statement, statement
from jepa_scale.theory.tightness import TightnessPoint
from jepa_scale.theory.trial import to_json
from jepa_scale.worlds.survey import Survey, octaves, widths_of

_TAILS = 7
"""Number of widths for which 80 columns have room besides k = 0."""

NO_BREAK = "\u00a0"

HEAD = (
    "statement",
    "claim",
    "trials",
    "met",
    "violations",
    "unmet",
    "median",
    "least",
    "vacuous",
)
"""Columns of the table of statements."""


def rows(findings: Findings) -> list[tuple[str, ...]]:
    """Return one row for each statement, as plain text in the order of ``HEAD``."""
    return [_row(claim, findings.total(claim.name)) for claim in STATEMENTS]


def _row(claim: Statement, tally: Tally) -> tuple[str, ...]:
    allowed = f" of ≤ {percent(claim.allowed)}" if claim.allowed else ""
    ratios = np.array(tally.looseness)
    return (
        claim.label,
        claim.says,
        whole(tally.trials),
        whole(tally.met),
        whole(tally.violations) + allowed,
        whole(tally.violations_unmet),
        number(float(np.median(ratios)), 2) if len(ratios) else "–",
        number(float(ratios.min()), 2) if len(ratios) else "–",
        percent(tally.vacuous / tally.met) if tally.met else "–",
    )


def statements_table(findings: Findings) -> Table:
    """Return the table of statements for a terminal, without the claims: 80 columns have no room for them."""
    shown = Table(title="What the theory says (median and least of bound/actual)")
    columns = ("statement", "trials met", "violations", "median", "least", "vacuous")
    for place, column in enumerate(columns):
        shown.add_column(column, justify="right" if place else "left", no_wrap=True)
    for claim, row in zip(STATEMENTS, rows(findings), strict=True):
        broken = fails(claim, findings.total(claim.name))
        name, _, _, *met_and_violations, _, median, least, vacuous = row
        shown.add_row(
            *(Text(cell, style="red" if broken else "") for cell in (name, *met_and_violations, median, least, vacuous))
        )
    return shown


def widths_table(points: Sequence[TightnessPoint], problem: PlanningProblem) -> Table:
    """Return the table of bounds by width on one world, for a terminal."""
    steps = f"T = {problem.horizon}, {problem.goal_law} goals"
    shown = Table(title=f"Your world (N = {points[0].states}, {steps}), best shared encoder")
    if points[0].unreachable > 0:
        shown.caption = (
            f"No plan reaches the goal from {percent(points[0].unreachable)} of the starts and goals; their regret is "
            "0 and dilutes the mean. planner.goal_law=reachable leaves them out."
        )
    for column in ("k", "regret", *(statement(entry.name).label for entry in points[0].bounds)):
        shown.add_column(column, justify="right")
    for point in points:
        cells = [bound(entry.value) + ("" if entry.applies else ", does not apply") for entry in point.bounds]
        shown.add_row(*(Text(cell) for cell in (str(point.k), number(point.regret), *cells)))
    return shown


def spectrum_table(world: FiniteWorld, negatives: Negatives) -> Table:
    """Return the table of spectral tails by action and width, for a terminal: lower bounds of any model of width k."""
    values = singular_values(world, negatives)
    stacked = stacked_singular_values(world, negatives)
    widths = octaves(world.states)[:-1]
    shown = Table(title=f"Spectral tails Σ_{{i>k}} σ_i² by action ({negatives.replace('_', '-')} negatives)")
    shown.caption = (
        "k = 0 is ‖M̄(a)‖². shared: of the stacked [√π(a) M̄(a)], the mean over actions of what one encoder for all "
        "actions leaves."
    )
    # Evenly spaced in log k where not all fit, the widest kept.
    step = max(1, -(-len(widths) // _TAILS))
    columns = [0, *widths[(len(widths) - 1) % step :: step]]
    for place, column in enumerate(("action", "σ₂", *(f"k={k}" for k in columns))):
        shown.add_column(column, justify="right" if place else "left", no_wrap=True)
    for name, row in [*((str(action), row) for action, row in enumerate(values)), ("shared", stacked)]:
        second = number(float(row[1])) if len(row) > 1 else "–"
        shown.add_row(*map(Text, (name, second, *(number(float(spectral_tail(row, k))) for k in columns))))
    return shown


def world_tables(world: FiniteWorld, problem: PlanningProblem, negatives: Negatives) -> Group:
    """Return two tables of one world: the spectrum by action, then the bounds by width.

    Raises
    ------
    ValueError
        If the plans cannot be enumerated.
    """
    return Group(spectrum_table(world, negatives), "", widths_table(widths_of(world, problem, negatives), problem))


def _failed_and_supported(findings: Findings) -> tuple[list[Statement], list[Statement]]:
    failed = [claim for claim in STATEMENTS if fails(claim, findings.total(claim.name))]
    return failed, [claim for claim in STATEMENTS if claim not in failed and findings.total(claim.name).met]


def headline(findings: Findings) -> str:
    """Return one sentence: how many statements held, and which failed."""
    failed, supported = _failed_and_supported(findings)
    tried = len(failed) + len(supported)
    fail = "fails" if len(failed) == 1 else "fail"
    rest = f"; {listed([claim.label for claim in failed])} {fail}" if failed else ""
    return f"{len(supported)} of {plural(tried, 'statement')} held on random worlds{rest}."


def verdict(findings: Findings) -> str:
    """Return one or two sentences on which statements held and which did not."""
    failed, supported = _failed_and_supported(findings)
    parts = [f"No more violations than allowed: {listed([claim.label for claim in supported])}."] if supported else []
    for claim in failed:
        example = findings.counterexamples.get(claim.name)
        size = ""
        if example is not None:
            states, actions, k, horizon = example.trial.size
            steps = (
                f", T = {horizon}" if claim.name.startswith(("t5", "t6_many", "t6_published_46", "b3", "b5")) else ""
            )
            size = (
                f"; smallest counterexample N = {states}, |A| = {actions}, k = {k}{steps}: "
                f"claims ≤ {number(example.bound)}, is {number(example.actual)}"
            )
        tally = findings.total(claim.name)
        parts.append(
            f"{claim.label} FAILS: {plural(tally.violations, 'violation')} in {whole(tally.met)} trials that meet its "
            f"hypotheses{size}."
        )
    return " ".join(parts)


def fails(claim: Statement, tally: Tally) -> bool:
    """Whether there are more violations than the claim allows, by more than three standard errors of a share."""
    if not claim.allowed:
        return tally.violations > 0
    error = math.sqrt(claim.allowed * (1 - claim.allowed) / tally.met) if tally.met else 0.0
    return tally.violations > tally.met * (claim.allowed + 3 * error)


def write_theory(survey: Survey, folder: Path) -> Path:
    """Write ``report.html``, ``figures/*``, ``findings.json`` and ``counterexamples/*.json``; each file whole.

    Returns
    -------
    Path of the page.
    """
    findings = survey.findings
    cards = []
    for module in (looseness, tightness, learning):
        drawn, caption = module.draw(survey), module.caption(survey)
        cards.append(place_figure(drawn, module.NAME, module.TITLE, caption, folder / "figures"))
    examples = folder / "counterexamples"
    for claim in STATEMENTS:
        # One of an earlier attack would pass for this one's.
        (examples / f"{claim.name}.json").unlink(missing_ok=True)
    for name, example in findings.counterexamples.items():
        numbers = {"bound": example.bound, "actual": example.actual}
        write_whole(examples / f"{name}.json", to_json(example.trial, name, numbers).encode())
    write_whole(folder / "findings.json", json.dumps(_numbers(survey), indent=1, ensure_ascii=False).encode())
    page = folder / "report.html"
    write_whole(page, _page(survey, cards).encode())
    return page


def _page(survey: Survey, cards: list[str]) -> str:
    findings = survey.findings
    lead = (
        f"Each statement was tried {whole(survey.trials)} times in each of {len(_families(findings))} families of "
        f"random worlds under each of {len(_attacks(findings))} families of models (seed {findings.seed}). "
        f"{verdict(findings)}"
    )
    hero, *others = cards
    body = "\n".join(
        (
            section("overview", "How far each bound lies from what it bounds", hero),
            section("statements", "Statements", _statements(findings), paragraph(_READING)),
            section("figures", "How tight the bounds are", *others),
            section("worlds", "By family of worlds", _split(findings, 1), closed=True),
            section("models", "By family of models", _split(findings, 2), closed=True),
            section("counterexamples", "Counterexamples", _counterexamples(findings)),
        )
    )
    header = (
        "<header><h1>What the theory says, and where it holds</h1></header>\n"
        f'<p class="verdict">{text(headline(findings))}</p>\n<p class="lead">{text(lead)}</p>\n{_next(findings)}'
    )
    return document("The theory, checked", header + body)


def _next(findings: Findings) -> str:
    """Return the command that derives the first counterexample again; it runs in the folder of the page."""
    if not findings.counterexamples:
        return ""
    command = f"jepa-scale theory --replay counterexamples/{next(iter(findings.counterexamples))}.json"
    return f'<p class="next">Next, in the folder of this page: <code>{text(command)}</code></p>\n'


_READING = (
    "Met: trials in which every hypothesis held; violations are counted there. Unmet: failures where a hypothesis did "
    "not hold, which is what it is there for. Median and least: of bound over regret (for T3 over the excess risk; for "
    "T2 and B2, which are floors, risk over bound) where the quantity is not 0: below 1 it fails. Vacuous: a "
    "bound on regret of 1 or more, a floor of 0. T3, T6 and B4 may fail in 5 % of samples."
)


def _statements(findings: Findings) -> str:
    shown = []
    for claim, (label, says, *numbers) in zip(STATEMENTS, rows(findings), strict=True):
        cells = [text(cell) for cell in numbers]
        if fails(claim, findings.total(claim.name)):
            cells[2] = f'<span class="no">{cells[2]}</span>'
        on_one_line = text(says).replace(" ", NO_BREAK)
        shown.append((f"{text(label)}<br><small>{on_one_line}</small>", *cells))
    return table((HEAD[0], *HEAD[2:]), shown, "Every statement on every trial.", tuple(range(1, len(HEAD) - 1)))


def _families(findings: Findings) -> list[str]:
    return list(dict.fromkeys(family for _, family, _ in findings.tallies))


def _attacks(findings: Findings) -> list[str]:
    return list(dict.fromkeys(attack for _, _, attack in findings.tallies))


def _split(findings: Findings, axis: int) -> str:
    names = _families(findings) if axis == 1 else _attacks(findings)
    head = ("statement", *(text(name).replace("_", "<br>") for name in names))
    body = []
    for claim in STATEMENTS:
        cells = []
        for name in names:
            tally = findings.total(claim.name, *((name, None) if axis == 1 else (None, name)))
            if not tally.met:
                cells.append("–")
                continue
            median = number(float(np.median(tally.looseness)), 2) if tally.looseness else "–"
            broken = f' <span class="no">{whole(tally.violations)} ✗</span>' if tally.violations else ""
            # On two lines: ten families side by side would be wider than the window.
            cells.append(f"{median}{broken}<br><small>of {whole(tally.met)}</small>")
        body.append((text(claim.label), *cells))
    caption = (
        "Median bound/actual and the number of trials that met the hypotheses; – where none did; ✗ counts violations."
    )
    return table(head, body, caption, tuple(range(1, len(head))))


def _counterexamples(findings: Findings) -> str:
    if not findings.counterexamples:
        return paragraph("None was found.")
    parts = [paragraph("Shrunk and rounded while the violation stayed. Each is a file that the command replays.")]
    for name, example in findings.counterexamples.items():
        lines = "\n".join(replay(example.trial, name))
        parts.append(f"<details><summary>{text(statement(name).label)}</summary><pre>{text(lines)}</pre></details>")
    return "\n".join(parts)


def _numbers(survey: Survey) -> dict[str, Any]:
    """Return all numbers of the tables, for other programs."""
    return {
        "seed": survey.findings.seed,
        "trials": survey.trials,
        "tallies": [
            {
                "statement": name,
                "world": family,
                "model": attack,
                "trials": tally.trials,
                "met": tally.met,
                "violations": tally.violations,
                "violations_unmet": tally.violations_unmet,
                "vacuous": tally.vacuous,
                "looseness_median": float(np.median(tally.looseness)) if tally.looseness else None,
                "looseness_least": min(tally.looseness, default=None),
            }
            for (name, family, attack), tally in survey.findings.tallies.items()
        ],
        "tightness": {
            axis: [
                {"states": point.states, "k": point.k, "horizon": point.horizon, "regret": point.regret}
                | {bound.name: bound.value for bound in point.bounds}
                for point in getattr(survey, axis)
            ]
            for axis in ("by_states", "by_width", "by_horizon")
        },
        "learning": {"torus": _means(survey.torus_curve), "nuisance": _means(survey.nuisance_curve)},
    }


def _means(curve: LearningCurve) -> list[dict[str, float]]:
    return [
        {
            "n": int(n),
            "k": int(k),
            "datasets": curve.datasets,
            "risk": float(curve.risk[row, column]),
            "risk_standard_error": float(curve.risk_standard_error[row, column]),
            "regret": float(curve.regret[row, column]),
            "regret_standard_error": float(curve.regret_standard_error[row, column]),
        }
        for row, n in enumerate(curve.sizes)
        for column, k in enumerate(curve.widths)
    ]
