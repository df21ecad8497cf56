"""Write the report of a study: one page that needs nothing else, and its figures as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_scale.records import StudyResult
from jepa_scale.report import tables, tables_tuning
from jepa_scale.report.advice import advice_lines, score_lines
from jepa_scale.report.arms import arms_table
from jepa_scale.report.conclusions import conclusions, headline
from jepa_scale.report.figures import ARMS, PLOTS, TUNING
from jepa_scale.report.files import write_whole
from jepa_scale.report.finetuned import finetuned_table
from jepa_scale.report.markup import document, paragraph, says, section, table, text
from jepa_scale.report.protocol import sentence_of
from jepa_scale.report.summary import cells, finished, lacking, level, sizes, widths
from jepa_scale.report.wording import interval, measured, number, over, percent, place, whole

_SECTIONS = {
    "figures": "Figures",
    "conclusions": "Conclusions in detail",
    "advice": "Advice",
    "means": "Means by n and k",
    "tuning": "Tuning",
    "laws": "Fitted laws",
    "forecasts": "Forecasts",
    "bounds": "Bounds",
    "failures": "Failures and exclusions",
    "runs": "Runs",
    "settings": "Settings and definitions",
}


def _means(result: StudyResult) -> dict[str, str]:
    """What is tabulated by n and k: where there is no exact risk, what is estimated in its place."""
    exact = {"Expected regret": "regret", "Exact risk": "risk"}
    if cells(result.table, "risk") or not len(result.table):
        return exact
    estimated = {
        "Regret": "regret",
        "Success": "success",
        "Success at the end of the budget": "success_final",
        "Held-out T of the model's features": "total",
        "Held-out subspace deficit": "subspace_deficit",
    }
    return {title: target for title, target in estimated.items() if cells(result.table, target)} or exact


def write_report(result: StudyResult, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into ``folder``; each file whole or not at all.

    A study with arms also has a page for each of them, in ``arms/``. Equal results give equal files. A figure that
    cannot be drawn is a sentence on the page, and has no file.

    Returns
    -------
    Path of the page.
    """
    page = folder / "report.html"
    if result.arms:
        for arm in result.arms:
            write_report(arm.result, folder / "arms" / arm.folder)
        write_whole(page, arms_page(result, ARMS.place(result, folder / "figures")).encode("utf-8"))
        return page
    drawn = [plot.place(result, folder / "figures") for plot in PLOTS]
    tuning = TUNING.place(result, folder / "figures") + tables_tuning.rates(result)
    write_whole(page, _page(result, "\n".join(drawn), tuning).encode("utf-8"))
    return page


def arms_page(result: StudyResult, figure: str) -> str:
    """The page of a study with arms; each arm has an ordinary page of its own."""
    links = [
        f'<li><a href="arms/{text(arm.folder)}/report.html">{text(arm.label)}</a>: {text(headline(arm.result))}</li>'
        for arm in result.arms
    ]
    sections = {
        "arms": ("The arms compared", figure + arms_table(result)),
        "single": ("Each arm by itself", f'<ul class="says">{"".join(links)}</ul>'),
        "failures": ("Failures and exclusions", tables.failures(result)),
        "runs": ("Runs", tables.runs(result)),
        "settings": ("Settings and definitions", _settings(result) + _definitions(result)),
    }
    nav = "".join(f'<li><a href="#{identity}">{text(title)}</a></li>' for identity, (title, _) in sections.items())
    body = "\n".join(section(identity, title, content) for identity, (title, content) in sections.items())
    return document(
        result.name,
        f"""<header>
<h1>{text(result.name)}</h1>
<p class="question">{text(result.question)}</p>
<nav aria-label="Sections"><ul>{nav}</ul></nav>
</header>
<p class="lead">{text(headline(result))}</p>
{body}""",
    )


def _page(result: StudyResult, figures: str, tuning: str) -> str:
    links = "".join(f'<li><a href="#{identity}">{text(title)}</a></li>' for identity, title in _SECTIONS.items())
    bodies = {
        "conclusions": _conclusions(result),
        "figures": figures,
        "means": "".join(f"<h3>{title}</h3>{tables.heat(result, target)}" for title, target in _means(result).items())
        + finetuned_table(result.table),
        "advice": _advice(result),
        "tuning": tuning,
        "laws": tables.parameters(result),
        "forecasts": tables.forecasts(result),
        "bounds": tables.bounds(result),
        "failures": tables.failures(result),
        "runs": tables.runs(result),
        "settings": _settings(result) + _definitions(result),
    }
    body = "\n".join(section(identity, title, bodies[identity]) for identity, title in _SECTIONS.items())
    return document(
        result.name,
        f"""<header>
<h1>{text(result.name)}</h1>
<p class="question">{text(result.question)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<p class="lead">{text(headline(result))}</p>
{_key_numbers(result)}
{body}""",
    )


def _conclusions(result: StudyResult) -> str:
    parts = []
    for topic, group in conclusions(result).items():
        # The opening paragraph has the headlines already, unless a topic has nothing else.
        shown = [one for one in group if not one.headline or one.alarm] or list(group)
        kinds = {True: "alarm", False: "plain"}
        items = "".join(f'<li class="{kinds[one.alarm]}">{text(one.text)}</li>' for one in shown)
        parts.append(f'<h3>{text(topic)}</h3><ul class="says">{items}</ul>')
    return "\n".join(parts)


def _advice(result: StudyResult) -> str:
    if result.advice is None:
        return paragraph(f"No advice: {result.no_advice or 'no run finished'}.")
    lines = advice_lines(result.advice)
    judged = score_lines(result.judged, result.target_regret)
    rows = [
        (
            whole(one.n),
            str(one.k),
            text(one.status),
            number(one.probability, 2),
            number(one.predicted),
            "–" if one.low is None or one.high is None else interval(one.low, one.high),
            number(came),
        )
        for one, came in result.judged
    ]
    head = ("n", "k", "verdict", f"P(regret ≤ {number(result.target_regret)})", "predicted", "interval", "came")
    shown = (
        table(head, rows, "Advice from the smaller half of the sizes, cell by cell.", (0, 1, 3, 4, 5, 6))
        if rows
        else ""
    )
    return paragraph(lines[0], "lead") + says([*lines[1:], *judged]) + shown


def _key_numbers(result: StudyResult) -> str:
    data = result.table
    found = list(cells(data, "regret").values())
    numbers = [(f"{len(data) - len(lacking(result))} of {len(data) + len(result.unfinished)}", "runs finished")]
    if len(data):
        numbers += [
            (
                f"{whole(sizes(data)[0])} – {whole(sizes(data)[-1])}",
                f"training transitions n, {len(sizes(data))} values",
            ),
            (f"{widths(data)[0]} – {widths(data)[-1]}", f"latent width k, {len(widths(data))} values"),
        ]
    if found:
        lowest = min(found, key=lambda cell: (cell.mean, cell.n, cell.k))
        numbers.append((measured(lowest), f"lowest mean regret, first at {place(lowest)}"))
        reached = [cell for cell in found if cell.mean <= result.target_regret]
        first = place(min(reached, key=lambda cell: (cell.n, cell.k))) if reached else "not reached"
        numbers.append((first, f"first cell at the target regret {number(result.target_regret)}"))
    floor = level(data, "regret_random")
    if floor is not None:
        said = "regret of random actions (same tasks)" if result.sampled else "regret of random plans (exact)"
        numbers.append((number(floor), said))
    seen = [point.covered for item in result.forecasts for point in item.points if point.covered is not None]
    if seen:
        numbers.append(
            (
                f"{sum(seen)} of {len(seen)}",
                f"forecasts inside {percent(result.forecasts[0].level)} intervals, all laws and targets",
            )
        )
    return (
        '<div class="keys">'
        + "".join(f'<div class="key"><b>{text(value)}</b><span>{text(label)}</span></div>' for value, label in numbers)
        + "</div>"
    )


def _settings(result: StudyResult) -> str:
    rows = [(f"<code>{text(name)}</code>", f"<code>{text(value)}</code>") for name, value in flatten(result.settings)]
    known = Counter((name, version) for record in result.records.values() for name, version in record.versions.items())
    versions = [(text(name), text(version), str(count)) for (name, version), count in sorted(known.items())]
    budget = paragraph(f"Budget: {result.budget.sentence}") if result.budget is not None else ""
    shared = budget + (
        table(("setting", "value"), rows, "What all runs share.")
        if rows
        else paragraph("No shared settings were recorded.")
    )
    if not versions:
        return shared
    return shared + table(("package", "version", "runs"), versions, "Versions that the numbers may depend on.", (2,))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names with their values."""
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += flatten(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _definitions(result: StudyResult) -> str:
    goals = {
        "reachable": "goals are reached from the start by the behaviour policy in T steps",
        "data": "goals follow the sampling law of the data",
        "uniform": "goals are uniform over the observations",
    }
    exact_terms = {
        "regret": f"Expected loss of probability of ending at the goal against the best plan of T = {result.horizon} "
        f"actions, {over(result)}; plans are ranked by the {result.score} score.",
        "goal law": f"{result.goal_law}: {goals.get(result.goal_law, 'as in the settings')}.",
    }
    protocol = sentence_of([record for _, record in finished(result)])
    meaning = {
        "n": "Training transitions. The data of a smaller n are a prefix of those of a larger one with the same seed.",
        "k": "Latent width: the dimension of the encoder's output.",
        "seed": "Decides data, initialisation and batches of one run.",
        **(_SAMPLED_TERMS if result.sampled else exact_terms),
        **({"protocol": protocol} if protocol else {}),
        "risk R": "Squared distance between the model's and the world's normalised co-occurrence matrix, mean over "
        "actions, computed exactly from the world.",
        "tail": "Sum of the squared singular values beyond k: the lowest risk of any model of width k (T2).",
        "± (SE)": "One standard error over seeds, s/√m. Differences carry the Welch standard error √(SE₁² + SE₂²); the "
        "best k is chosen from the same means, which makes differences to it a little optimistic.",
        "vacuous": "A bound of 1 or more says nothing, as a regret never exceeds 1; its value is kept in parentheses.",
        "held out": "The largest n takes no part in the fits; the laws forecast it.",
        "interval": "Percentiles of the cluster bootstrap over seeds; calibrated forecasts are widened by what the "
        "same forecast missed one n earlier.",
        "AICc": "Ranks laws fitted to the same cells; a difference below 2 is a tie, and the best of several "
        "laws may still be wrong.",
    }
    return (
        "<h3>Definitions</h3><dl>"
        + "".join(f"<dt>{text(term)}</dt><dd>{text(said)}</dd>" for term, said in meaning.items())
        + "</dl>"
    )


_SAMPLED_TERMS = {
    "success": "Share of sampled tasks that are solved, at any step of the budget or at its end as the protocol says, "
    "planning anew after each step. Tasks and the planner's random numbers are the same for all models of a world.",
    "regret": "Success of the same planner with the true state, dynamics and distances (oracle), minus that with the "
    "model. Its parts: geometry = oracle − same cost, where the same cost is true dynamics ranked by the model's own "
    "distances; dynamics = same cost − model.",
    "random, do-nothing": "Success of uniformly random actions, and of the action 0.",
}
