"""Sentences on success in sampled tasks: against floors and ceiling, and where the regret comes from."""

from __future__ import annotations

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import DECISIVE, cells, level
from jepa_scale.report.wording import measured, number, place


def conclude(result: StudyResult) -> list[Conclusion]:
    """Nothing where the regret is exact."""
    found = cells(result.table, "success")
    if not result.sampled or not found:
        return []
    best = max(found.values(), key=lambda cell: (cell.mean, -cell.n, -cell.k))
    levels = {name: level(result.table, f"success_{name}") for name in ("oracle", "random", "do_nothing")}
    floor = max(value for value in (levels["random"], levels["do_nothing"], 0.0) if value is not None)
    said = (
        f"The best cell solves {measured(best)} of the tasks ({place(best)}), where the oracle solves "
        f"{number(levels['oracle'])}, random actions {number(levels['random'])} and doing nothing "
        f"{number(levels['do_nothing'])}"
    )
    if best.standard_error is not None and best.mean - floor < DECISIVE * best.standard_error:
        said += "; that is not above what knowing nothing reaches by two standard errors over seeds"
    return [Conclusion(said + ".", headline=True), *_parts(result, (best.n, best.k))]


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
