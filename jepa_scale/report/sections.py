"""Sections of a study's page, from the answer to how to reproduce it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jepa_scale.records import StudyResult
from jepa_scale.report.advice import advice_lines, next_lines, score_lines
from jepa_scale.report.conclusions import Conclusion, conclusions
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.figures import BY_SECTION
from jepa_scale.report.page.markup import folded, paragraph, says, table, text
from jepa_scale.report.parts import tables, tables_tuning
from jepa_scale.report.parts.definitions import definitions
from jepa_scale.report.parts.finetuned import finetuned_table
from jepa_scale.report.parts.next_sweep import next_sweep
from jepa_scale.report.parts.reproduce import reproducibility
from jepa_scale.report.parts.runs_table import runs
from jepa_scale.report.parts.seed_noise import seed_noise
from jepa_scale.report.summary import cells, lacking, level, sizes, widths
from jepa_scale.report.wording import interval, measured, number, place, plural, whole

TITLES = {
    "u-turn": "Regret by width and by data",
    "spectrum": "Spectrum and risk",
    "bounds": "Bounds beside the regret",
    "laws": "Laws and residuals",
    "forecasts": "Forecast and back-test",
    "advice": "Advice and the next sweep",
    "diagnostics": "Diagnostics",
    "runs": "All runs",
    "reproducibility": "Reproducibility",
}
"""Titles of the sections by id, in the order of the page, after the answer."""


CLOSED = frozenset({"spectrum", "bounds", "laws", "forecasts", "diagnostics", "runs", "reproducibility"})
"""Sections that explain rather than answer: their headings are shown, a click or a link opens them."""

SCREEN = frozenset({"runs", "reproducibility"})
"""Sections of those that are looked things up in: paper has them only if they have been unfolded."""


def bodies(result: StudyResult, folder: Path) -> dict[str, tuple[str, str]]:
    """Return title and content of each section by its id; the figures' files go into ``folder``/figures."""
    by_topic = conclusions(result)
    drawn = {
        name: [plot.place(result, folder / "figures") for plot in plots]
        for name, plots in BY_SECTION.items()
        if name != "hero"
    }
    figures = {name: "\n".join(parts) for name, parts in drawn.items()}
    content = {
        "u-turn": figures["u-turn"]
        + (figures["dials"] if result.dials else "")
        + _sentences(by_topic, "Success", "Best width", "Fine-tuning")
        + _means(result, _U_TURN)
        + finetuned_table(result.table),
        "spectrum": figures["spectrum"] + _sentences(by_topic, "Risk") + _means(result, _SPECTRUM),
        "bounds": figures["bounds"] + _sentences(by_topic, "Bounds") + tables.bounds(result),
        "laws": figures["laws"] + _sentences(by_topic, "Laws", "Theory") + tables.parameters(result),
        "forecasts": figures["forecasts"]
        + _sentences(by_topic, "Forecast")
        + tables.forecasts(result)
        + _judged(result),
        "advice": _advice(result) + figures["advice"] + next_sweep(result, folder),
        "diagnostics": _sentences(by_topic, "Completeness")
        + tables.failures(result)
        + "<h3>Learning rate</h3>"
        + figures["learning-rate"]
        + _sentences(by_topic, "Budget", "Tuning")
        + tables_tuning.rates(result)
        + "<h3>Noise of seeds</h3>"
        + seed_noise(result)
        + "<h3>Budget</h3>"
        + paragraph(result.budget.sentence if result.budget is not None else "No rule was recorded.", "")
        + "<h3>Training</h3>"
        + figures["training"],
        "runs": runs(result),
        "reproducibility": reproducibility(result, folder) + definitions(result),
    }
    return {name: (title, content[name]) for name, title in TITLES.items()}


def opening(result: StudyResult, folder: Path) -> str:
    """Return the opening: verdict, next command, one figure; then what the verdict rests on, problems, key numbers."""
    verdict, *rest = answer(result)
    lines = "".join(f"<li>{text(sentence)}</li>" for sentence in rest)
    heroes = [] if result.arms else BY_SECTION["hero"]
    hero = "".join(plot.place(result, folder / "figures") for plot in heroes if not plot.missing(result))
    alarms = [
        conclusion
        for group in conclusions(result).values()
        for conclusion in group
        if conclusion.alarm and conclusion.text not in (verdict, *rest)
    ]
    loud = "".join(f'<p class="alarm">{text(conclusion.text)}</p>' for conclusion in alarms if conclusion.headline)
    quiet = sum(not conclusion.headline for conclusion in alarms)
    more = paragraph(f"{quiet} more warnings stand in the sections below.") if quiet > 1 else ""
    return (
        '<section id="answer" aria-label="The answer">'
        f'<p class="verdict">{text(verdict)}</p>{_next(result)}{hero}'
        f'<ul class="answer">{lines}</ul>{loud}{more}{_key_numbers(result)}'
        f'<p class="note tool">{_HINT}</p></section>'
    )


def _next(result: StudyResult) -> str:
    """Return the next runs and the command that does them; where none is left to do, how to ask for another size."""
    if result.advice is None:
        return ""
    if not result.advice.next_runs:
        n, k = 10 * max(sizes(result.table)), result.advice.verdict.k
        return (
            '<p class="next">No further run would change this. Of another size or width ask, FOLDER being that of this '
            f"page: <code>jepa-scale advise FOLDER --n {n} --k {k}</code></p>"
        )
    first, *others = next_lines(result.advice)
    more = f" {plural(len(others), 'more cell')} after it." if others else ""
    return (
        f'<p class="next">{text(first + more)} From where the study was started, FOLDER being that of this page: '
        "<code>jepa-scale advise FOLDER &amp;&amp; jepa-scale study sweeps/next.yaml --folder FOLDER</code></p>"
    )


def topics(result: StudyResult, *wanted: str) -> str:
    """Return the conclusions of some topics as a list; empty if there are none."""
    return _sentences(conclusions(result), *wanted)


def _sentences(by_topic: dict[str, tuple[Conclusion, ...]], *topics: str) -> str:
    group = [conclusion for topic in topics for conclusion in by_topic.get(topic, ())]
    # What is wrong and what the opening would say is read by everybody; the rest by who wants to know.
    first = [conclusion for conclusion in group if conclusion.alarm or conclusion.headline] or group[:1]
    rest = [conclusion for conclusion in group if conclusion not in first]
    more = folded(f"In words: {plural(len(rest), 'more sentence')}", _list(rest)) if rest else ""
    return (_list(first) if first else "") + more


_HINT = "Point at a mark, or reach it by Tab and the arrow keys, for its numbers; Enter or a click opens its runs."


def _list(group: Iterable[Conclusion]) -> str:
    kinds = {True: "alarm", False: "plain"}
    items = "".join(f'<li class="{kinds[conclusion.alarm]}">{text(conclusion.text)}</li>' for conclusion in group)
    return f'<ul class="says">{items}</ul>'


_U_TURN = {
    "Expected regret": ("regret", False),
    "Regret": ("regret", True),
    "Prediction error": ("prediction", True),
    "Success": ("success", True),
    "Success at the end of the budget": ("success_final", True),
}
_SPECTRUM = {
    "Exact risk": ("risk", False),
    "Held-out T of the model's features": ("total", True),
    "Held-out subspace deficit": ("subspace_deficit", True),
}
"""Tables of means by title: what is tabulated, and whether where the risk is estimated (or else where it is exact)."""


def _means(result: StudyResult, wanted: dict[str, tuple[str, bool]]) -> str:
    estimated = bool(len(result.table)) and not cells(result.table, "risk")
    chosen = {title: target for title, (target, if_estimated) in wanted.items() if if_estimated == estimated}
    targets = {title: target for title, target in chosen.items() if cells(result.table, target)} or dict(
        list(chosen.items())[:1]
    )
    first, *others = (f"<h3>{text(title)}</h3>{tables.heat(result, target)}" for title, target in targets.items())
    more = ", ".join(title.lower() for title in [*targets][1:])
    return first + (folded(f"More tables: {more}", "".join(others)) if others else "")


def _judged(result: StudyResult) -> str:
    """Return the table of how advice from the smaller sizes would have fared on the larger ones, cell by cell."""
    if not result.judged:
        return paragraph("No back-test of the advice: too few sizes to learn from half of them.")
    rows = [
        (
            whole(verdict.n),
            str(verdict.k),
            text(verdict.status),
            number(verdict.probability, 2),
            number(verdict.predicted),
            "–" if verdict.low is None or verdict.high is None else interval(verdict.low, verdict.high),
            number(came),
        )
        for verdict, came in result.judged
    ]
    head = ("n", "k", "verdict", f"P(regret ≤ {number(result.target_regret)})", "predicted", "interval", "came")
    return (
        "<h3>Back-test of the advice</h3>"
        + says(score_lines(result.judged, result.target_regret))
        + table(head, rows, "Advice from the smaller half of the sizes, cell by cell.", (0, 1, 3, 4, 5, 6))
    )


def _advice(result: StudyResult) -> str:
    if result.advice is None:
        return paragraph(f"No advice: {result.no_advice or 'no run finished'}.")
    lines = advice_lines(result.advice)
    return paragraph(lines[0], "lead") + says(lines[1:])


def _key_numbers(result: StudyResult) -> str:
    data = result.table
    # Means over different arms would be of nothing.
    regrets = [] if result.arms else list(cells(data, "regret").values())
    every = len(result.runs)
    numbers = [(f"{every - len(lacking(result))} of {every + len(result.unfinished)}", "runs finished")]
    if len(data):
        numbers += [
            (
                f"{whole(sizes(data)[0])} – {whole(sizes(data)[-1])}",
                f"training transitions n, {len(sizes(data))} values",
            ),
            (f"{widths(data)[0]} – {widths(data)[-1]}", f"latent width k, {len(widths(data))} values"),
        ]
    if regrets:
        lowest = min(regrets, key=lambda cell: (cell.mean, cell.n, cell.k))
        numbers.append((measured(lowest), f"lowest mean regret, first at {place(lowest)}"))
        reached = [cell for cell in regrets if cell.mean <= result.target_regret]
        first = place(min(reached, key=lambda cell: (cell.n, cell.k))) if reached else "not reached"
        numbers.append((first, f"first cell at the target regret {number(result.target_regret)}"))
    floor = level(data, "regret_random")
    if floor is not None:
        title = "regret of random actions (same tasks)" if result.sampled else "regret of random plans (exact)"
        numbers.append((number(floor), title))
    return (
        '<div class="keys">'
        + "".join(f'<div class="key"><b>{text(value)}</b><span>{text(label)}</span></div>' for value, label in numbers)
        + "</div>"
    )
