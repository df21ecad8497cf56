"""Conclusions on the learning rate: whether a mistuned width could be mistaken for a bad one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jepa_scale.laws.tuning import SharingLoss, TunedGap, loss_of_sharing, tuned_gaps
from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import DECISIVE, Difference, optima
from jepa_scale.report.wording import difference, listed, number, plural, whole, with_error

NOT_CHECKED = (
    "The learning rate was not checked per width: where the shared rate does not suit a width, that width looks bad, "
    "and a U-turn in k can be one of the rate."
)


def conclude(result: StudyResult) -> list[Conclusion]:
    """Conclude what the shared rate loses at each width, and whether this can explain the study's U-turn."""
    check = result.tuning
    if check is None:
        return [Conclusion(NOT_CHECKED)]
    missing = f"{plural(len(check.unfinished), 'run')} of the tuning check without a record."
    losses = [loss for loss in loss_of_sharing(check, "regret") if math.isfinite(loss.loss)]
    if not losses:
        return [Conclusion(f"No width has the tuning check's runs at the shared rate. {missing}", alarm=True)]
    sentences = [
        _shared(losses, check.label, check.shared, check.n),
        _best(losses, check.label),
        *_early(losses, check.shared),
    ]
    ends = _ends(result, losses)
    sentences += [_verdict(end, check.label, check.n) for end in ends]
    if check.unfinished:
        sentences.append(Conclusion(missing, alarm=True))
    return sentences


def _shared(losses: list[SharingLoss], label: str, shared: float, n: int) -> Conclusion:
    parts = [f"{with_error(loss.loss, _known(loss.standard_error))} at k = {loss.k}" for loss in losses]
    return Conclusion(
        f"At n = {whole(n)} the shared {label} = {number(shared)} loses against the best rate tried, in regret: "
        f"{listed(parts)} ({plural(losses[0].seeds, 'seed')}; a little too large, as the best is chosen from the same "
        "runs)."
    )


def _best(losses: list[SharingLoss], label: str) -> Conclusion:
    parts = [f"{number(loss.best_rate)} at k = {loss.k}" for loss in losses]
    span = max(loss.best_rate for loss in losses) / min(loss.best_rate for loss in losses)
    moved = "it is the same at every width" if span == 1 else f"it moves by a factor of {number(span)} over the widths"
    edge = [loss.k for loss in losses if loss.at_edge]
    text = f"The best {label} is {listed(parts)}: {moved}."
    if edge:
        text += f" At k = {listed(edge)} it is the last of the list, so a better one may lie beyond."
    return Conclusion(text)


def _early(losses: list[SharingLoss], shared: float) -> list[Conclusion]:
    lower = [loss.k for loss in losses if loss.best_rate < shared and loss.loss > DECISIVE * loss.standard_error]
    if not lower:
        return []
    return [
        Conclusion(
            f"At k = {listed(lower)} a lower rate does better by more than {DECISIVE:g} SE. In as many steps "
            "it fits the training data less, so what is lost is the price of long training as much as of the rate."
        )
    ]


@dataclass(frozen=True)
class _End:
    """One end of the grid at the check's n."""

    name: str
    k: int
    turn: Difference | None
    """Mean of the study at this end minus that at its best width; None if the end is (one of) the best."""
    loss: SharingLoss
    tuned: TunedGap | None


def _ends(result: StudyResult, losses: list[SharingLoss]) -> list[_End]:
    check = result.tuning
    assert check is not None  # ``conclude`` asked
    turn = optima(result.table, "regret").get(check.n)
    if turn is None:
        return []
    gaps = tuned_gaps(check, "regret")
    narrow, wide = gaps if gaps is not None else (None, None)
    by_width = {loss.k: loss for loss in losses}
    ends = []
    for name, k, size, gap in (("narrow", turn.ends[0], turn.below, narrow), ("wide", turn.ends[1], turn.above, wide)):
        shared = k in turn.shared_by
        if k in by_width:
            ends.append(_End(name, k, None if shared else size, by_width[k], gap))
    return ends


def _verdict(end: _End, label: str, n: int) -> Conclusion:
    wide = end.name == "wide"
    where = f"n = {whole(n)}, k = {end.k}"
    if end.turn is None:
        return Conclusion(
            f"{where}: no other width does better, so there is no cost of a {end.name} latent to explain."
        )
    loss, error = end.loss.loss, _known(end.loss.standard_error)
    size = difference(end.turn)
    sentence = (
        f"{where}: the study finds this width worse than the best by {size}; the check, by runs of other seeds, finds "
        f"that the shared {label} costs {with_error(loss, error)} there"
    )
    if loss >= end.turn.value:
        verdict = "a mistuned width could make all of it"
    elif error is None or end.turn.standard_error is None:
        verdict = "with one seed, whether that can make all of it cannot be said"
    elif end.loss.at_edge:
        verdict = "the best rate may lie beyond the list, so a mistuned width cannot be excluded"
    elif loss + DECISIVE * error < end.turn.value - DECISIVE * end.turn.standard_error:
        verdict = "a mistuned width cannot make all of it"
    else:
        verdict = "a mistuned width cannot be excluded"
    return Conclusion(f"{sentence}: {verdict}.{_tuned(end)}", headline=wide, alarm=loss >= end.turn.value)


def _tuned(end: _End) -> str:
    if end.tuned is None:
        return ""
    if end.tuned.best_k == end.k:
        return " In the check's own runs, each width at its best rate, no other width does better: no cost is left."
    gap = Difference(end.tuned.gap, _known(end.tuned.standard_error))
    return (
        f" In the check's own runs, each width at its best rate, it is worse than k = {end.tuned.best_k} by "
        f"{difference(gap)}."
    )


def _known(error: float) -> float | None:
    return error if math.isfinite(error) else None
