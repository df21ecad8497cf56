"""The reference dictionary of an audit: what it sees beyond the embeddings, and when it advises no width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_scale.auditing.record import AuditQuantity, DictionaryAudit
from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.moments import GroupedMoments, MomentAccumulator
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, operator_spectrum
from jepa_scale.report.wording import number

_SATURATED = 0.9
"""Share of T that half of a dictionary must see before the dictionary's tail is informative about the true one."""


def dictionary_spectra(moments: GroupedMoments) -> list[OperatorSpectrum]:
    """Return the dictionary's spectra of each action with enough rows, or of one joint operator."""
    cells = [cell for cell in range(len(moments.count)) if moments.count[cell].any()]
    spectra = [operator_spectrum(OperatorSums.of(moments, cell, "same_action")) for cell in cells]
    # Without groups to leave out a spectrum of so many features is mostly bias.
    return [spectrum for spectrum in spectra if not spectrum.n_too_small and spectrum.total.groups > 1]


def dictionary_audit(
    sums: MomentAccumulator | None,
    eps: float,
    widths: Sequence[int],
    level: float,
    own: Sequence[OperatorSpectrum],
    contains: bool = False,
    reduced: bool = False,
) -> DictionaryAudit | None:
    """``contains``: the embeddings are among the features; ``reduced``: only some of their directions are."""
    if sums is None or not own or not (spectra := dictionary_spectra(sums.compute())):
        return None
    half = dictionary_spectra(sums.compute().leading(sums.width_f // 2)) if eps == 0 else []
    shares = [spectrum.n for spectrum in spectra]
    size = min(min(spectrum.p, spectrum.q) for spectrum in own) + 1
    best = mean_of([spectrum.top(size) for spectrum in spectra], shares, level)
    seen = mean_of([spectrum.total for spectrum in own], [spectrum.n for spectrum in own], level)
    return DictionaryAudit(
        width=sums.width_f,
        rows=sum(spectrum.rows for spectrum in spectra),
        noise=eps,
        total=mean_of([spectrum.total for spectrum in spectra], shares, level),
        top={k: mean_of([spectrum.top(k) for spectrum in spectra], shares, level) for k in widths},
        tail={k: mean_of([spectrum.tail(k) for spectrum in spectra], shares, level) for k in widths},
        tail_own=mean_of([spectrum.tail(size) for spectrum in spectra], shares, level),
        half_total=mean_of([spectrum.total for spectrum in half], [spectrum.n for spectrum in half], level),
        subspace_deficit=AuditQuantity.missing() if eps > 0 or reduced else _deficit(best, seen, contains),
    )


def no_sizing(dictionary: DictionaryAudit | None, noiseless: bool, reduced: bool) -> str:
    """Return why no width can be advised; empty if one can."""
    if reduced:
        return "The dictionary takes some principal directions of the embeddings only: rows are too few for all."
    if dictionary is None:
        return "There is no reference dictionary, so nothing is known of the tail."
    if noiseless:
        return "The dynamics look noiseless, so that the tail has no end."
    total, half = dictionary.total.value, dictionary.half_total.value
    if total is None or half is None or half < _SATURATED * total:
        return (
            f"The dictionary is too small: with half of its {dictionary.width} features T is {number(half)}, with all "
            f"{number(total)}, so that its tail is far below the true one and k* would follow its size."
        )
    return ""


def _difference(minuend: AuditQuantity, subtrahend: AuditQuantity) -> AuditQuantity:
    """Return the difference with errors added in squares, which is conservative, as both mostly share their rows."""
    if minuend.value is None or subtrahend.value is None:
        return AuditQuantity.missing()
    value = minuend.value - subtrahend.value
    if (
        minuend.standard_error is None
        or subtrahend.standard_error is None
        or minuend.low is None
        or minuend.standard_error == 0
    ):
        return AuditQuantity(value, None, None, None)
    error = float(np.hypot(minuend.standard_error, subtrahend.standard_error))
    half = error * (minuend.value - minuend.low) / minuend.standard_error
    return AuditQuantity(value, error, value - half, value + half)


def _deficit(best: AuditQuantity, seen: AuditQuantity, contains: bool) -> AuditQuantity:
    """Return what the best functions of the dictionary see more: at least 0 if the embeddings are among its features.

    The jackknife takes off too much of the bias of many features, so that the difference may come out below 0 by more
    than its error: then it is 0, with an upper end of at least the error's size.
    """
    found = _difference(best, seen)
    if not contains or found.value is None or found.low is None or found.high is None or found.low >= 0:
        return found
    half = (found.high - found.low) / 2
    return AuditQuantity(max(found.value, 0.0), found.standard_error, 0.0, max(found.high, half))


def mean_of(statistics: Sequence[Jackknifed], shares: Sequence[float] | None, level: float) -> AuditQuantity:
    """Return the weighted mean of statistics; missing where there is none."""
    return AuditQuantity.of(average(statistics, shares), level) if statistics else AuditQuantity.missing()
