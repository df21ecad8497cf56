"""Sentences of a study's advice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jepa_scale.laws.spending import Spending
from jepa_scale.records import Advice, Ask, Verdict
from jepa_scale.report.wording import duration, interval, law_name, listed, number, percent, plural, whole

_LIMITS = {
    "tail": "the width: beside {data}, another width would remove {share} of the {quantity}",
    "samples": "the samples: {data} would remove {share} of the {quantity}",
    "floor": "neither: {data} and the best width that was run leave {share} of the {quantity}",
}


def advice_lines(advice: Advice) -> list[str]:
    """Return the sentences of the answer, the verdict first."""
    ask = advice.ask
    lines = [f"{advice.verdict.status.upper()}: {verdict_line(advice.verdict, ask)}"]
    lines += _cheapest(advice)
    lines += _best_width(advice)
    if advice.limits:
        data = _times(advice.more_data[-1].factor)
        kind = max(advice.limits, key=lambda name: advice.limits[name])
        untried = ""
        ends = (advice.surface.k[0], advice.surface.k[-1])
        if kind != "samples" and advice.best_k is not None and advice.best_k[0] in ends:
            untried = f"; a {'wider' if advice.best_k[0] == ends[1] else 'narrower'} latent was not tried"
        lines.append(
            f"What binds at n = {whole(ask.n or 0)}, k = {ask.k}: "
            f"{_LIMITS[kind].format(data=data, share=percent(advice.limits[kind]), quantity=ask.quantity)}{untried}."
        )
    lines += _more_data(advice)
    if advice.noise is not None:
        lines.append(f"One run there scatters by ±{number(advice.noise, 2)} (sd over seeds).")
    lines += next_lines(advice)
    shown = ", ".join(
        f"{law_name(name)} {number(weight, 2)}" for name, weight in advice.weights.items() if weight >= 0.005
    )
    if shown:
        lines.append(f"Forecasters, weighted by back-tests here and on other studies: {shown}.")
    lines.append(
        f"Forecasts were checked up to {advice.checked[0]:.2f} decades beyond the runs in n and "
        f"{advice.checked[1]:.2f} in k."
    )
    return lines + [f"Caution: {warning}." for warning in advice.warnings]


def _more_data(advice: Advice) -> list[str]:
    ask, said = advice.ask, []
    for more in advice.more_data:
        share, low, high = (f"{round(100 * part)}".replace("-", "−") for part in (more.change, more.low, more.high))
        said.append(
            f"{_times(more.factor)}, n = {whole(round(more.factor * (ask.n or 0)))}, by {share} % [{low}, {high}]"
        )
    if not said:
        return []
    return [f"The {ask.quantity} at k = {ask.k} would change with {'; with '.join(said)} (forecast)."]


def _times(factor: float) -> str:
    """Return a multiple of the data in words."""
    named = {2.0: "twice", 10.0: "ten times"}
    return f"{named.get(factor) or f'{number(factor, 2)} times'} the data"


def verdict_line(verdict: Verdict, ask: Ask) -> str:
    """Return the verdict on (n, k) as one sentence."""
    where = f"n = {whole(verdict.n)}, k = {verdict.k}"
    if verdict.probability is None or verdict.low is None or verdict.high is None:
        return f"{where}: {verdict.basis}"
    return (
        f"{where}: {ask.quantity} {number(verdict.predicted)} {interval(verdict.low, verdict.high)} "
        f"({percent(ask.level)}, one run, {verdict.basis}); "
        f"P({ask.quantity} ≤ {number(ask.target_regret)}) = {number(verdict.probability, 2)}"
    )


def _best_width(advice: Advice) -> list[str]:
    if advice.best_k is None or advice.ask.n is None:
        return []
    best, low, high = advice.best_k
    near = ""
    if advice.tolerated_k is not None and advice.tolerated_k[0] < advice.tolerated_k[1]:
        near = f"; k = {advice.tolerated_k[0]} … {advice.tolerated_k[1]} costs less than 5 % more {advice.ask.quantity}"
    share = percent(advice.ask.level)
    return [f"Best width at n = {whole(advice.ask.n)}: k* = {best}, {share} of the draws in {low} … {high}{near}."]


def _cheapest(advice: Advice) -> list[str]:
    target = number(advice.ask.target_regret)
    hours = advice.ask.budget_hours
    budget = "" if hours is None else f" within {duration(hours)} for a new run"
    lines = []
    if advice.cheapest is None:
        lines.append(
            f"No (n, k) that was run, or lies as near as forecasts were checked, reaches {target} with "
            f"P ≥ {advice.ask.level:g}{budget}."
        )
    else:
        verdict = advice.cheapest
        lines.append(
            f"Least data: n = {whole(verdict.n)} with k = {verdict.k} ({verdict.basis}, "
            f"P = {number(verdict.probability, 2)})."
        )
    if advice.cheapest_n is not None and not all(map(math.isinf, advice.cheapest_n)):
        median, low, high = advice.cheapest_n
        ends = ", ".join("more than was tried" if math.isinf(end) else whole(end) for end in (low, high))
        middle = "more than was tried" if math.isinf(median) else whole(median)
        lines.append(
            f"P({advice.ask.quantity} of one run ≤ {target}) of the best width that was run reaches 0.5 at "
            f"n = {middle} [{ends}] ({1 - advice.ask.level:.2g} and {advice.ask.level:g})."
        )
    return lines


def next_lines(advice: Advice) -> list[str]:
    """Return the lines on the next runs."""
    lines = []
    for place, run in enumerate(advice.next_runs, start=1):
        each = " each" if run.seeds > 1 else ""
        hours = "" if run.hours is None else f", about {duration(run.hours)}{each}"
        lines.append(
            f"Next run {place}: n = {whole(run.n)}, k = {run.k} ({run.why}{hours})"
            + (
                "."
                if run.shrinkage is None
                else f": the answer's interval shrinks to {percent(run.shrinkage)} of its width now."
            )
        )
    return lines


def spending_lines(spent: Sequence[Spending | None], budgets: Sequence[float], cost: str, ask: Ask) -> list[str]:
    """Return a line for each budget: the width and the data that are best at that cost."""
    lines = []
    for budget, one in zip(budgets, spent, strict=True):
        head = f"At {cost} = {number(budget)}"
        if one is None:
            lines.append(
                f"{head}: cannot say, forecasts were not checked for as much or as little data as that leaves."
            )
            continue
        edge = ""
        if one.at_the_edge:
            edge = f" It is an end of the widths that could be compared ({one.judged[0]} … {one.judged[-1]})."
        far = listed([str(width) for width in one.beyond])
        left = f" Judged by less data, as forecasts were checked no farther: k = {far}." if one.beyond else ""
        lines.append(
            f"{head}: k = {one.k} [{one.k_ends[0]}, {one.k_ends[1]}], n = {whole(one.n)} "
            f"[{whole(one.n_ends[0])}, {whole(one.n_ends[1])}], {ask.quantity} {number(one.regret)} "
            f"{interval(*one.regret_ends)}; P(one run ≤ {number(ask.target_regret)}) = {number(one.probability, 2)} "
            f"({percent(ask.level)}, forecast).{edge}{left}"
        )
    return lines


def score_lines(judged: Sequence[tuple[Verdict, float]], target: float) -> list[str]:
    """Return lines on how advice from the smaller half of the sizes fared on the larger ones."""
    if not judged:
        return []
    hits = [
        verdict for verdict, came in judged if verdict.status == ("sufficient" if came <= target else "insufficient")
    ]
    wrong = [
        (verdict, came)
        for verdict, came in judged
        if verdict.status in ("sufficient", "insufficient")
        and verdict.status != ("sufficient" if came <= target else "insufficient")
    ]
    refused = sum(verdict.status == "cannot say" for verdict, _ in judged)
    undecided = sum(verdict.status == "undecided" for verdict, _ in judged)
    lines = [
        f"Advice from the smaller half of the sizes on the {plural(len(judged), 'larger cell')}: {len(hits)} right, "
        f"{len(wrong)} wrong, {undecided} undecided, {refused} refused as too far."
    ]
    if wrong:
        where = [
            f"n = {whole(verdict.n)}, k = {verdict.k} ({verdict.status}, regret came {number(came)})"
            for verdict, came in wrong
        ]
        lines.append(f"Wrong at {listed(where)}.")
    return lines
