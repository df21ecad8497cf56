"""Conclusions on success in sampled tasks: against floors and ceiling, and where the regret comes from."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.parts.protocol import interval_of, rate, sentence_of, tasks_of
from jepa_scale.report.summary import DECISIVE, cells, finished, level
from jepa_scale.report.wording import listed, measured, place, whole

_REFERENCES = {"oracle": "the oracle solves", "random": "random actions", "do_nothing": "doing nothing"}


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude how often tasks are solved; empty if the regret is exact."""
    rates = cells(result.table, "success")
    if not result.sampled or not rates:
        return []
    best = max(rates.values(), key=lambda cell: (cell.mean, -cell.n, -cell.k))
    levels = {name: level(result.table, f"success_{name}") for name in ("oracle", "random", "do_nothing")}
    floor = max(value for value in (levels["random"], levels["do_nothing"], 0.0) if value is not None)
    tasks = tasks_of(result, "model")
    between = interval_of(best.mean, tasks)
    known = [
        f"{words} {rate(levels[name], tasks_of(result, name))}"
        for name, words in _REFERENCES.items()
        if levels[name] is not None
    ]
    sentence = (
        f"The best cell ({place(best)}) has a success of {measured(best)}{between and f' {between}'}, where "
        f"{listed(known)} (in brackets 95 % Wilson intervals over {'the' if tasks is None else whole(tasks)} tasks)"
    )
    if best.standard_error is not None and best.mean - floor < DECISIVE * best.standard_error:
        sentence += "; that is not above what knowing nothing reaches by two standard errors over seeds"
    protocol = sentence_of([record for _, record in finished(result)])
    how = [Conclusion(protocol)] if protocol else []
    return [Conclusion(sentence + ".", headline=True), *how, *_parts(result, (best.n, best.k))]


def _parts(result: StudyResult, where: tuple[int, int]) -> list[Conclusion]:
    geometry, dynamics = (cells(result.table, f"regret_{part}").get(where) for part in ("geometry", "dynamics"))
    if geometry is None or dynamics is None:
        return []
    larger = "measuring distances" if geometry.mean > dynamics.mean else "predicting"
    return [
        Conclusion(
            f"Of its regret {measured(geometry)} is lost by the model's distances even under true dynamics (geometry), "
            f"and {measured(dynamics)} more by predicting (dynamics): {larger} costs more."
        )
    ]
