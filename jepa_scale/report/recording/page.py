"""The page of a card, with its figures and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jepa_scale.data.card.record import DataCard
from jepa_scale.data.enough.answer import Enough
from jepa_scale.files import write_whole
from jepa_scale.report.decision import record_page
from jepa_scale.report.page.files import replaced_together
from jepa_scale.report.page.markup import document, paragraph, section, table, text
from jepa_scale.report.recording.enough import PLOT, enough_lines
from jepa_scale.report.recording.figures import PLOTS
from jepa_scale.report.recording.lines import heading, key_numbers
from jepa_scale.report.wording import number

_LISTED = 128
"""Largest number of coordinates in the table; the rest is in the JSON."""


def card_json(card: DataCard, answer: Enough | None = None, why_not: str = "") -> str:
    """Return the card as JSON, with ``enough`` if that was asked: the answer, or why there is none."""
    unanswered = {"enough": {"status": "not answered", "reason": why_not}} if why_not else {}
    more = unanswered if answer is None else {"enough": answer.to_dict()}
    return json.dumps(card.to_dict() | more, indent=1, ensure_ascii=False)


def write_card(card: DataCard, folder: Path, answer: Enough | None = None, why_not: str = "") -> Path:
    """Write ``card.json``, ``card.html`` and ``figures/*``: either all of them or nothing.

    Returns
    -------
    Path of the page.
    """
    with replaced_together(folder) as draft:
        first = section("enough", PLOT.title, paragraph(f"Not answered: {why_not}.")) if why_not else ""
        if answer is not None:
            sentences = (paragraph(sentence, "") for sentence in enough_lines(answer))
            first = section("enough", PLOT.title, *sentences, PLOT.place(answer, draft / "figures"))
        drawn = [plot.place(card, draft / "figures") for plot in PLOTS]
        write_whole(draft / "card.json", card_json(card, answer, why_not).encode())
        write_whole(draft / "card.html", _page(card, first, drawn).encode())
    return folder / "card.html"


def _page(card: DataCard, first: str, drawn: list[str]) -> str:
    source, content, kind = heading(card)
    alarms = "".join(f'<p class="alarm">{text(found.sentence)}</p>' for found in card.findings if found.ruins)
    others = [found.sentence for found in card.findings if not found.ruins]
    numbers = table(
        ("quantity", "value, 95 % interval over episodes"),
        [(text(name), text(value)) for name, value in key_numbers(card)],
        "", (1,),
    )  # fmt: skip
    said = [*others, card.alignment.sentence, *card.notes]
    body = "\n".join(
        [
            f"<header><h1>{text(source)}</h1>",
            f'<p class="question">{text(content)}; {text(kind)}.</p></header>',
            alarms,
            first,
            section("findings", "Findings", *(paragraph(sentence, "") for sentence in said)),
            section("numbers", "Numbers", numbers),
            section("figures", "Figures", *drawn),
            section("coordinates", "Coordinates", _coordinates(card)),
            section("definitions", "Definitions", *(paragraph(sentence, "") for sentence in _DEFINITIONS)),
        ]
    )
    return document(f"Card of {source}", body)


def _coordinates(card: DataCard) -> str:
    if not card.coordinates:
        return paragraph("Images, or more than 512 coordinates: not listed.")
    rows = []
    for one in card.coordinates[:_LISTED]:
        kinds = [name for name, holds in (("constant", one.constant), ("per episode", one.fixed), ("clock", one.clock))
                 if holds]  # fmt: skip
        rows.append(
            (
                str(one.index),
                number(one.low),
                number(one.high),
                number(one.mean),
                number(one.deviation),
                ", ".join(kinds),
            )
        )
    more = len(card.coordinates) - _LISTED
    note = paragraph(f"{more} more in card.json.") if more > 0 else ""
    head = ("coordinate", "lowest", "highest", "mean", "deviation", "kind")
    return table(head, [tuple(text(cell) for cell in row) for row in rows], "", (0, 1, 2, 3, 4)) + note


_DEFINITIONS = (
    "Intervals: ± 1.96 standard errors over whole episodes, which alone are independent.",
    "Action predicted by x: share of the variance of a_t that a ridge regression on x_t, x_{t−1} and bends of them "
    "explains of episodes that it was not fitted on; beyond the actions before, as a share of what those leave.",
    "x⁺ explained by a: the part of the variance of x_{t+1} unexplained by x_t and x_{t−1} that a_t explains, on other "
    "episodes; the effect may depend on x_t.",
    "Effective sample: how many independent rows would give the means of the observations the same standard error.",
    "States at a resolution: 1 / P(two rows of different episodes are closer than that), distances in deviations per "
    "coordinate. Entropies by nearest neighbours (Kozachenko and Leonenko), coordinates with deviation 1.",
    "Near copies: episodes whose paths differ by less than a fiftieth of the usual distance of two episodes.",
)


def decision_page(card: DataCard, answer: Enough | None, why_not: str, command: str, digest: str) -> str:
    """Return a decision record of the card: whether the recording is sound and, if that was asked, large enough."""
    ruins = [finding.sentence for finding in card.findings if finding.ruins]
    others = [finding.sentence for finding in card.findings if not finding.ruins]
    sound = "Something would ruin training" if ruins else "Nothing was found that would ruin training"
    lines = [] if answer is None else enough_lines(answer)
    verdict = [*ruins, *lines[:1]] or [f"{sound}."]
    changes = ["Another recording, or another choice of observations, actions or frame skip."]
    if why_not:
        verdict.append(f"Not answered whether it is enough: {why_not}.")
    if answer is None and not why_not:
        changes.append("Whether more data would help was not asked: --enough.")
    if answer is not None:
        changes.append("A learner that uses the data better than a regression on random features.")
    sections: dict[str, str | Sequence[str]] = {
        "Question": "Are these episodes fit to train on" + (", and are they enough?" if answer or why_not else "?"),
        "Verdict": verdict,
        "Evidence": [*heading(card), *(f"{name}: {value}" for name, value in key_numbers(card)), *lines[1:]],
        "Also found": [*others, *([] if card.alignment.refuses else [card.alignment.sentence]), *card.notes],
        "What would change it": changes,
        "Theory": "No statement of the theory was used: errors of held-out episodes and tests on whole episodes.",
    }
    title = f"{sound}" + (f"; {answer.status.value}" if answer is not None else "")
    return record_page(f"Are these episodes fit to train on? {title}", sections, command, card.source, digest)
