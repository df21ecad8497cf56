"""Presentation of an audit: a table in the terminal, and a page with figures."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from jepa_scale.auditing.figures import PLOTS
from jepa_scale.auditing.record import Audit, OperatorAudit
from jepa_scale.auditing.warn import shown, sufficiency
from jepa_scale.files import write_whole
from jepa_scale.records.verdicts import Interval
from jepa_scale.report.decision import record_page
from jepa_scale.report.page.files import replaced_together
from jepa_scale.report.page.markup import document, formula, paragraph, section, table, text
from jepa_scale.report.page.plot import TWINS
from jepa_scale.report.wording import between, number, percent, plural, whole

_RANKS = {
    "rankme_sv_uncentred": "RankMe: singular values, uncentred",
    "erank_eig_centred": "effective rank: eigenvalues, centred",
    "participation_ratio": "participation ratio, centred",
    "alpha_req": "α-ReQ exponent",
}

_LISTED = 40
"""Largest number of operators and singular values in the tables; the rest is in the JSON."""


def verdict_lines(audit: Audit) -> list[str]:
    """Return the verdict, what to do next, and what else was found, a sentence each."""
    verdict = audit.verdict
    width = "" if verdict.low is None else f", width needed {between(verdict.low, verdict.high)}"
    return [
        f"{verdict.status.capitalize()} (width {verdict.width}{width}): {verdict.reason}.",
        f"Next: {verdict.remedy}" + (f": {verdict.command}" if verdict.command else "."),
        *(f"{str(note)[:1].upper()}{str(note)[1:]}." for note in verdict.notes),
    ]


def decision_page(audit: Audit, command: str, digest: str) -> str:
    """Return a decision record of the audit: a page of Markdown."""
    verdict, sufficient = audit.verdict, sufficiency(audit)
    first, _, *found = verdict_lines(audit)
    remedy = f"{str(verdict.remedy)[:1].upper()}{str(verdict.remedy)[1:]}"
    remedy += f": `{verdict.command}`" if verdict.command else "."
    sections = {
        "Question": f"Is a latent of width {verdict.width} wide enough for the dynamics of these embeddings, or wider "
        "than they need?",
        "Verdict": first,
        "Evidence": [head(audit), *(f"{name}: {value}" for name, value in key_numbers(audit)), *found],
        "Cautions": list(audit.warnings),
        "What would change it": [
            remedy,
            *([sufficient] if sufficient else []),
            "Embeddings of other data or policies.",
        ],
        "Theory": [
            "Width by the share of predictable energy (T1, T2: what a width leaves is the tail of the spectrum). No "
            "bound on regret was used, as nothing was planned."
        ],
    }
    title = f"Is a width of {verdict.width} right? {verdict.status.capitalize()}"
    return record_page(title, sections, command, audit.source, digest)


def _estimate(interval: Interval) -> str:
    if interval.value is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f} (no interval)"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _energies(audit: Audit) -> list[tuple[str, str]]:
    """Return the numbers that the verdict rests on, and what predictions see, free of conventions."""
    verdict, rows = audit.verdict, []
    if verdict.energy.value is not None:
        rows.append(("predictable energy E of (z, a) → z⁺", _estimate(verdict.energy)))
        rows.append(("share that linear functions hold, E/E⁺", _estimate(verdict.held)))
    if verdict.curve is not None and (verdict.energy.low or 0) > 0:
        curve, last = verdict.curve, len(verdict.curve.widths)
        for k in (2**power for power in range(last.bit_length()) if 2**power < last):
            share = Interval(curve.share[k - 1], curve.low[k - 1], curve.high[k - 1])
            rows.append((f"share of E in {plural(k, 'direction')}", _estimate(share)))
    if audit.predicted is not None:
        rows.append(("share of the joint operator seen by ẑ", _estimate(audit.predicted.explained)))
        rows.append(("… by the best without the action", _estimate(audit.predicted.blind)))
        rows.append(("… difference: what ẑ gains by the action", _estimate(audit.predicted.gained)))
    return rows


def key_numbers(audit: Audit) -> list[tuple[str, str]]:
    """Return the key numbers: names and values with intervals."""
    rows = [*_energies(audit), ("T = Σ s_i²", shown(audit.total))]
    rows += [(f"top {k}", shown(value)) for k, value in audit.top.items()]
    if audit.joint is not None:
        rows.append((f"T of {audit.joint.name.removeprefix('joint operator ')}", shown(audit.joint.total)))
    if audit.dictionary is not None:
        rows.append((f"T of a dictionary of {audit.dictionary.width}", shown(audit.dictionary.total)))
        rows += [(f"tail_dict beyond k = {k} (≥)", shown(value)) for k, value in audit.dictionary.tail.items()]
        rows.append(("subspace deficit (≥)", shown(audit.dictionary.subspace_deficit)))
    if audit.loss.value is not None:
        rows.append(("spectral loss L (of spectral objectives)", shown(audit.loss)))
        rows.append(("calibration deficit (of spectral objectives)", shown(audit.calibration_deficit)))
    if audit.cells is not None:
        rows += [
            (f"T, mean over {plural(cells, 'cell')} of actions", shown(value))
            for cells, value in audit.cells.totals.items()
        ]
        if audit.cells.extrapolated.value is not None:
            rows.append(("T, extrapolated to points", shown(audit.cells.extrapolated)))
    rows += [(f"T at ε = {number(resolution.noise)}", shown(resolution.total)) for resolution in audit.resolution]
    # α-ReQ needs twenty coordinates.
    rows += [
        (_RANKS[name], shown(value) + (" above the width" if name in audit.ranks_above_width else ""))
        for name, value in audit.ranks.items()
        if value.value is not None
    ]
    if audit.sizing is not None:
        rows.append((f"width for n = {whole(audit.sizing.n)}", _advice(audit)))
    return rows


def _advice(audit: Audit) -> str:
    sizing = audit.sizing
    assert sizing is not None
    if sizing.open_ended:
        return f"≥ {sizing.low}: the dictionary ends before the sum rises"
    best, like_it = between(sizing.best_low, sizing.best_high), between(sizing.low, sizing.high)
    return f"k* = {best}" + (f", not told from {like_it}" if like_it != best else "")


def head(audit: Audit) -> str:
    """Return one sentence on what was audited."""
    return f"{_subject(audit)} {_layout(audit)}"


def _subject(audit: Audit) -> str:
    what = "predictions ẑ_{t+1} against z_{t+1}" if audit.predictions else "z_t against z_{t+1}: no predictions given"
    return f"{whole(audit.rows)} transitions, {what}."


def _layout(audit: Audit) -> str:
    return f"{audit.layout[:1].upper()}{audit.layout[1:]}."


def terminal_table(audit: Audit) -> Table:
    """Return the table of the key numbers for a terminal."""
    terminal = Table(title=f"{audit.summary_name}; {percent(audit.level)} intervals", title_justify="left")
    terminal.add_column("quantity")
    terminal.add_column("value ± standard error [interval]", justify="right")
    for name, value in key_numbers(audit):
        terminal.add_row(name, value)
    return terminal


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write ``audit.json``, ``report.html`` and ``figures/*``: either all of them or nothing.

    Returns
    -------
    Path of the page.
    """
    with replaced_together(folder) as draft:
        drawn = [plot.place(audit, draft / "figures") for plot in PLOTS]
        write_whole(draft / "audit.json", json.dumps(audit.to_dict(), indent=1, ensure_ascii=False).encode())
        write_whole(draft / "report.html", _page(audit, drawn).encode())
        for plot in PLOTS:
            # A picture of an earlier audit would pass for this one's.
            for file in (f"{plot.name}.{ending}" for ending in TWINS):
                if not (draft / "figures" / file).exists():
                    (folder / "figures" / file).unlink(missing_ok=True)
    return folder / "report.html"


def _page(audit: Audit, drawn: list[str]) -> str:
    warned = "".join(f'<p class="alarm">{text(sentence)}</p>' for sentence in audit.warnings)
    numbers = table(
        ("quantity", "value ± standard error, interval"),
        [(formula(name), text(value)) for name, value in key_numbers(audit)],
        text(f"{audit.summary_name}; n = {whole(audit.rows)}; {percent(audit.level)} jackknife intervals"),
        (1,),
    )
    summary, verdict = sufficiency(audit), audit.verdict
    command = f": <code>{text(verdict.command)}</code>" if verdict.command else "."
    hero, *others = drawn
    body = "\n".join(
        [
            f"<header><h1>{text(Path(audit.source).name)}</h1>",
            f'<p class="question">{formula(_subject(audit))} {text(_layout(audit))}</p></header>',
            f'<p class="verdict">{text(verdict_lines(audit)[0])}</p>',
            f'<p class="next">Next: {text(verdict.remedy)}{command}</p>',
            hero,
            *(paragraph(sentence) for sentence in verdict_lines(audit)[2:]),
            warned,
            f'<p class="lead">{text(summary)}</p>' if summary else "",
            section("figures", "Figures", *others),
            section("numbers", "Numbers", numbers),
            section("operators", "Operators", _operators(audit), closed=True),
            section("values", "Singular values", _values(audit), closed=True),
            section("definitions", "Definitions", *(f"<p>{formula(line)}</p>" for line in _DEFINITIONS), closed=True),
        ]
    )
    return document(f"Audit of {Path(audit.source).name}", body)


def _operators(audit: Audit) -> str:
    joint = () if audit.joint is None else (audit.joint,)
    rows = [_operator_row(operator) for operator in (*joint, *audit.operators[:_LISTED])]
    head = ("operator", "transitions", "varying (h, f)", "T", "above the edge", "gap at the width", "LiDAR", "flags")
    more = len(audit.operators) - _LISTED
    note = paragraph(f"{plural(more, 'more operator')} in audit.json.") if more > 0 else ""
    return table(head, rows, "One row for each action, cell, or the joint operator.", (1, 2, 3, 4, 5, 6)) + note


def _operator_row(operator: OperatorAudit) -> tuple[str, ...]:
    gap = "–"
    if operator.gap is not None:
        gap = (
            shown(operator.gap.difference)
            if operator.gap.real
            else f"not told from 0 (cluster of {operator.gap.cluster})"
        )
    rank = "–" if operator.signal_rank is None else str(operator.signal_rank)
    cells = (
        operator.name,
        whole(operator.n),
        f"{operator.p}, {operator.q}",
        shown(operator.total),
        rank,
        gap,
        shown(operator.lidar_wm),
    )
    return (*(text(cell) for cell in cells), text(", ".join(operator.flags) or "–"))


def _values(audit: Audit) -> str:
    parts = []
    listed_ones = (*(() if audit.joint is None else (audit.joint,)), *audit.operators)
    for operator in [operator for operator in listed_ones if operator.singular_values][:_LISTED]:
        limit = "–" if operator.detection_limit is None else f"≤ {number(operator.detection_limit)}"
        rows = [
            (str(place), text(shown(value)), text(number(fixed) if fixed is not None else limit))
            for place, (value, fixed) in enumerate(
                zip(operator.singular_values[:_LISTED], operator.corrected[:_LISTED], strict=True), start=1
            )
        ]
        caption = f"First {len(rows)} of {len(operator.singular_values)}; noise edge {number(operator.edge)}"
        listed = table(("i", "s_i, jackknife", "s_i, closed form"), rows, text(caption), (0, 1, 2))
        parts.append(f"<details><summary>{text(operator.name)}</summary>{listed}</details>")
    return "\n".join(parts) or paragraph("None: too few transitions.")


_DEFINITIONS = (
    "Verdict: E = Σ ρ_i² of the canonical correlations of linear functions of z_{t+1} and of z_t times functions of "
    "the action, the constant left out; the width needed is the least k whose first k terms are 95 % of E. "
    "Over-provisioned: less than half of the width is needed. Too narrow: bent functions of z_t, or the latent and "
    "action before, predict more, so that E is less than 95 % of E⁺. A share by width lies between a closed form for "
    "the values above the noise edge, too low where many are small, and the plug-in sum, too high.",
    "What ẑ sees of the joint operator is E(ẑ → z⁺)/E((z, a) → z⁺), whatever objective the model was trained with. L "
    "and the calibration deficit are those of spectral objectives: of models trained otherwise they measure the scale "
    "of latents, and may rank predictions that ignore the action above exact ones.",
    "s_i: canonical correlations of [1, h] and [1, f], f = z_{t+1} and h = ẑ_{t+1} or z_t. They are at most the "
    "singular values σ_i of the normalised co-occurrence matrix of the dynamics, and equal to them where embeddings "
    "span its leading singular functions. Nothing changes when embeddings are shifted, scaled or mixed linearly.",
    "The joint operator takes x and a together to x⁺, against the law of x⁺ under all actions: its T is the mean over "
    "actions of what each determines of x⁺, its action's own effect included, while an action's or a cell's own T does "
    "not count what the action alone says of x⁺.",
    "T = Σ s_i²; top k its leading part. tail_dict: what a fixed dictionary of random features of the embeddings sees "
    "beyond its k best functions; a lower bound on what any latent of width k leaves out.",
    "Subspace deficit: how much more the best functions of the dictionary see than the embeddings, as many of them. "
    "Calibration deficit: what a linear map of the embeddings would remove from the loss. Both are 0 for a perfect "
    "model of a spectral objective; a subspace deficit of predictions below 0 says that the dictionary is too small.",
    "L: the spectral loss tr(C_h C_f) − 2 tr C_hf without the pairs of a row with itself; L + ‖M̄‖² is the risk.",
    "Intervals: delete-a-group jackknife over 16 groups of whole trajectories, with t quantiles. The closed form "
    "assumes independent rows. Effective ranks of one embedding differ by factors of 3 to 15 between conventions: "
    "compare only numbers of one name, and of similar n.",
)
