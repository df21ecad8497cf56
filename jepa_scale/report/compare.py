"""Comparison of several studies on one page: their answers, regret and fits side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_scale.files import write_whole
from jepa_scale.records import LawFit, StudyResult
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.figures import compare as figure
from jepa_scale.report.page.markup import document, paragraph, sections, table, text
from jepa_scale.report.page.plot import Plot
from jepa_scale.report.parts.runs_table import cell_tips
from jepa_scale.report.summary import lacking
from jepa_scale.report.wording import interval, law_name, listed, number, over, probability, whole

Studies = Mapping[Path, StudyResult]
"""Results of the studies by folder."""


def write_comparison(studies: Studies, page: Path) -> Path:
    """Write one page that compares several studies, and the files of its figure into ``figures`` next to it.

    Arms of a study are compared as studies of their own.

    Returns
    -------
    Path of the page.
    """
    named = _labelled(studies)
    results = {label: result for label, (result, _) in named.items()}
    drawn = Plot.of(figure).place(results, page.parent / "figures")
    links, body = sections(
        {
            "answers": ("Answers", _answers(named, page)),
            "regret": ("Regret", drawn + _alike(results)),
            "fits": ("Fitted laws", _fits(results)),
        }
    )
    header = f'<header><h1>Studies compared</h1><p class="question">{text(listed(list(results)))}</p>{links}</header>'
    write_whole(page, document("Studies compared", f"{header}\n{body}", _data(results)).encode("utf-8"))
    return page


def _labelled(studies: Studies) -> dict[str, tuple[StudyResult, Path]]:
    """Return every study, or each of its arms, with the folder of its page, by a unique name."""
    every = [
        entry
        for folder, result in studies.items()
        for entry in ([(arm.result, folder / "arms" / arm.folder) for arm in result.arms] or [(result, folder)])
    ]
    names = [result.name for result, _ in every]
    return {
        result.name if names.count(result.name) == 1 else f"{result.name} ({folder})": (result, folder)
        for result, folder in every
    }


def _answers(named: Mapping[str, tuple[StudyResult, Path]], page: Path) -> str:
    cards = []
    for label, (result, folder) in named.items():
        items = "".join(f"<li>{text(sentence)}</li>" for sentence in answer(result))
        own = folder / "report.html"
        link = ""
        if own.is_file():
            where = Path(os.path.relpath(own, page.parent)).as_posix()
            link = f'<p class="note"><a href="{text(where)}">Its own page</a></p>'
        runs = f"{len(result.runs) - len(lacking(result))} of {len(result.runs) + len(result.unfinished)} runs finished"
        cards.append(
            f'<div class="key"><h3>{text(label)}</h3>{paragraph(result.question)}'
            f'<ol>{items}</ol><p class="note">{text(runs)}.</p>{link}</div>'
        )
    return f'<div class="side">{"".join(cards)}</div>'


def _alike(results: Mapping[str, StudyResult]) -> str:
    """Return the table of what the regret means in each study, and whether it means the same in all."""
    rows, facts = [], []
    for label, result in results.items():
        world = result.settings.get("world", {})
        kind = str(world.get("_target_", "not recorded")).rpartition(".")[2] if isinstance(world, Mapping) else "–"
        fact = (kind, result.score, result.goal_law, str(result.horizon), "sampled" if result.sampled else over(result))
        facts.append((*fact, str(world)))
        rows.append((text(label), *map(text, fact), number(result.target_regret)))
    head = ("study", "world", "score", "goals", "T", "regret is", "target")
    same = len(set(facts)) == 1
    caption = (
        "World, score, goals and horizon are the same in all studies."
        if same
        else "World, score, goals or horizon differ: a lower line is then not a better model, but maybe an easier task."
    )
    return paragraph(caption, "note" if same else "alarm") + table(head, rows, "What the regret is of.", (4, 6))


def _fits(results: Mapping[str, StudyResult]) -> str:
    rows = [(text(label), *_fit(result, fit)) for label, result in results.items() for fit in result.fits]
    if not rows:
        return paragraph("No law was fitted in any of these studies.")
    head = ("study", "law", "target", "parameters", "cells", "runs", "AICc", "lack of fit", "held-out cells inside")
    caption = "Laws fitted without the held-out cells; parameters with intervals of the cluster bootstrap."
    return table(head, rows, caption, (4, 5, 6)) + paragraph(
        "AICc compares laws of one study on the same cells, never two studies."
    )


def _fit(result: StudyResult, fit: LawFit) -> tuple[str, ...]:
    if fit.status == "converged":
        parameters = ", ".join(
            f"{item.name} = {number(item.value)} " + ("(fixed)" if item.fixed else interval(item.low, item.high))
            for item in fit.parameters
        )
    else:
        parameters = f"{fit.status.replace('_', ' ')}: {fit.reason}"
    seen = [
        point.covered
        for item in result.forecasts
        if (item.law, item.target) == (fit.law, fit.target)
        for point in item.points
        if point.covered is not None
    ]
    inside = f"{sum(seen)} of {len(seen)}" if seen else "–"
    cells = (whole(fit.cells), whole(fit.runs), number(fit.aicc, 4), text(probability(fit.lack_of_fit_p)))
    return text(law_name(fit.law)), text(fit.target), f'<div class="prose">{text(parameters)}</div>', *cells, inside


def _data(results: Mapping[str, StudyResult]) -> dict[str, Any]:
    tips: dict[str, list[str]] = {}
    for index, (label, result) in enumerate(results.items()):
        tips |= {key: [lines[0], label, *lines[1:]] for key, lines in cell_tips(result, str(index)).items()}
    return {"columns": {}, "tips": tips, "filters": {}, "file": "compare"}
