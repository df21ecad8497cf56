"""What the result of one run or evaluation is, in a sentence and as JSON."""

from __future__ import annotations

import typing
from collections.abc import Mapping

if typing.TYPE_CHECKING:
    from jepa_scale.cli import answers
    from jepa_scale.records import Estimate


def verdict_of(estimates: Mapping[str, Estimate], score: str = "") -> str:
    """Return success, regret or prediction error of a model beside what knowing nothing reaches, the first there is.

    ``score`` is the planner's; without it the regret of each score is looked for.
    """
    from jepa_scale.report.parts.protocol import rate
    from jepa_scale.report.wording import number

    value, n = _value(estimates.get("success/model")), _count(estimates.get("success/model"))
    if value is not None:
        floors = {"random actions": "success/random", "doing nothing": "success/do_nothing"}
        return f"Success {rate(value, n) if n else number(value)}{_beside(estimates, floors)}."
    scores = [score] if score else ["density", "distance", "inner", "operator", "exhaustive"]
    found = {one: _value(estimates.get(f"regret/{one}")) for one in scores}
    for name, regret in found.items():
        if regret is not None:
            floors = {"random plans": "regret/random", "doing nothing": "regret/do_nothing"}
            exact = "exact" if _count(estimates[f"regret/{name}"]) is None else "mean over tasks"
            return f"Regret {number(regret)} ({exact}, score {name}){_beside(estimates, floors)}."
    observed = _value(estimates.get("observed/model/mean"))
    if observed is not None:
        return (
            f"Prediction error {number(observed)} of the change{_beside(estimates, {'a copy': 'observed/copy/mean'})}."
        )
    steps = sorted(name for name in estimates if name.startswith("prediction/horizon_"))
    if steps:
        value = _value(estimates[steps[0]])
        copy = {"a copy": steps[0].replace("prediction/", "prediction/copy/")}
        return f"Prediction error {number(value)} of the variance, one step ahead{_beside(estimates, copy)}."
    loss = _value(estimates.get("train/loss"))
    return (
        "Nothing was planned or predicted." if loss is None else f"Training loss {number(loss)}; nothing was planned."
    )


def _beside(estimates: Mapping[str, Estimate], floors: Mapping[str, str]) -> str:
    from jepa_scale.report.wording import number

    values = {name: _value(estimates.get(estimate)) for name, estimate in floors.items()}
    shown = [f"{name} {number(value)}" for name, value in values.items() if value is not None]
    return f"; {', '.join(shown)}" if shown else ""


def _value(row: Estimate | None) -> float | None:
    return None if row is None or not isinstance(row.value, float | int) else float(row.value)


def _count(row: Estimate | None) -> int | None:
    return None if row is None else row.n


def as_answers(estimates: Mapping[str, Estimate]) -> dict[str, answers.Estimate]:
    """Return estimates as JSON shows them."""
    from jepa_scale.cli import answers

    return {
        name: answers.Estimate(
            value=answers.plain(row.value), standard_error=answers.plain(row.standard_error), n=row.n
        )
        for name, row in sorted(estimates.items())
    }
