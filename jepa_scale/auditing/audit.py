"""Audits of embeddings from a file: compute the ``Audit`` record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jepa_scale.auditing.plan import make_plan
from jepa_scale.auditing.record import (
    Audit,
    AuditQuantity,
    CellsAudit,
    DictionaryAudit,
    GapAudit,
    OperatorAudit,
    SizingAudit,
)
from jepa_scale.auditing.rows import EmbeddingRows, open_rows
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.auditing.stream import Gathered, gather
from jepa_scale.auditing.warn import warnings_of
from jepa_scale.estimators.cells import estimate_cells
from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.joint import joint_spectrum
from jepa_scale.estimators.moments import GroupedMoments, MomentAccumulator
from jepa_scale.estimators.rank import effective_ranks, lidar
from jepa_scale.estimators.risk import RiskEstimate, estimate_risk
from jepa_scale.estimators.sizing import StudyTerm, choose_width
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, operator_spectrum
from jepa_scale.foreign import Refused
from jepa_scale.report.wording import number

_NEARLY_ONE = 0.98

_SATURATED = 0.9
"""Share of T that half of a dictionary must see before the dictionary's tail is informative about the true one."""

Advance = Callable[[int], None]


def run_audit(
    path: Path, settings: AuditSettings, started: Callable[[EmbeddingRows], Advance] = lambda rows: lambda count: None
) -> Audit:
    """Audit a file; ``started`` is called with its rows before they are read and returns the progress callback.

    Raises
    ------
    Refused
        If the file, a setting, or the two together make no sense; one sentence says what to do.
    """
    study = None if settings.fit is None else StudyTerm.read(settings.fit)
    try:
        rows = open_rows(path, settings.columns, settings.tokens, settings.drop_nonfinite, settings.seed)
        gathered = gather(rows, make_plan(rows, settings), settings, started(rows))
        return _conclude(path, rows, gathered, settings, study)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error


def _conclude(
    path: Path, rows: EmbeddingRows, gathered: Gathered, settings: AuditSettings, study: StudyTerm | None
) -> Audit:
    moments, level = gathered.moments.compute(), settings.level
    if not all(np.isfinite(part).all() for part in (moments.zz, moments.yy, moments.zy)):
        raise ValueError(
            "expected embeddings and weights whose squares can be added up, got some too large for that: divide each "
            "array by a constant, which changes no spectrum"
        )
    names, sums = _operators(moments, gathered)
    spectra = [operator_spectrum(moment) for moment in sums]
    widths = _widths(settings, moments)
    predictions = rows.predicted_width is not None
    scored = predictions and settings.components is None
    risks = [estimate_risk(*both) if scored else None for both in zip(sums, spectra, strict=True)]
    operators = tuple(
        _operator(name, spectrum, widths, level, risk)
        for name, spectrum, risk in zip(names, spectra, risks, strict=True)
    )
    joint = _joint(moments, gathered, predictions, widths, level)
    usable = [spectrum for spectrum in spectra if not spectrum.n_too_small]
    shares = [spectrum.n for spectrum in usable]
    losses = [risk for risk, spectrum in zip(risks, spectra, strict=True) if risk and not spectrum.n_too_small]
    dictionary = _dictionary(gathered.dictionary, 0.0, widths, level, usable)
    noiseless = any("noiseless" in operator.flags for operator in operators)
    no_sizing = _no_sizing(dictionary, noiseless)
    audit = Audit(
        source=str(path),
        layout=rows.layout + ("" if settings.components is None else _projected(rows, moments)),
        rows=int(moments.rows.sum()),
        dropped=rows.dropped,
        repeated=gathered.repeated,
        trajectories=rows.trajectory_count,
        trajectory_source=rows.trajectory_source,
        widths=(moments.zz.shape[-1] - 1, moments.yy.shape[-1] - 1),
        predictions=predictions,
        level=level,
        summary_name=_summary_name(gathered, len(usable)),
        total=_mean([spectrum.total for spectrum in usable], shares, level),
        top={k: _mean([spectrum.top(k) for spectrum in usable], shares, level) for k in widths},
        loss=_mean([risk.loss for risk in losses], None, level),
        calibration_deficit=_mean([risk.calibration_deficit for risk in losses], None, level),
        operators=operators,
        joint=joint,
        no_joint=gathered.plan.no_basis,
        ranks={
            name: AuditQuantity.of(rank, level) if np.isfinite(rank.whole) else AuditQuantity.missing()
            for name, rank in effective_ranks(moments).items()
        },
        ranks_above_width=_above_width(moments),
        dictionary=dictionary,
        resolution=tuple(
            record
            for eps, part in sorted(gathered.resolution.items())
            if (record := _dictionary(part, eps, widths, level, usable))
        ),
        cells=_cells(moments, gathered, predictions, level),
        sizing=None if no_sizing else _sizing(gathered, settings, rows, study),
        no_sizing=no_sizing,
        warnings=(),
    )
    return warnings_of(audit, rows, gathered.plan, gathered.seen, settings)


def _above_width(moments: GroupedMoments) -> tuple[str, ...]:
    """Return the names of ranks that the bias correction has moved above the embeddings' width."""
    width = moments.yy.shape[-1] - 1
    # The exponent of α-ReQ is no rank.
    ranks = {name: rank for name, rank in effective_ranks(moments).items() if name != "alpha_req"}
    return tuple(name for name, rank in ranks.items() if rank.value > width * (1 + 1e-9))


def _projected(rows: EmbeddingRows, moments: GroupedMoments) -> str:
    p, q = moments.zz.shape[-1] - 1, moments.yy.shape[-1] - 1
    return f"; projected on {p} and {q} principal directions: a lower bound"


def _operators(moments: GroupedMoments, gathered: Gathered) -> tuple[list[str], list[OperatorSums]]:
    """Return the names and moment sums of the audited operators."""
    plan = gathered.plan
    if plan.joint or (plan.labels is None and plan.bins is None):
        whole = moments.joined(np.zeros(len(moments.count), dtype=np.int64))
        name = "joint operator (x, a) → x⁺" if plan.joint else "x → x⁺"
        return [name], [OperatorSums.of(whole, 0, "same_action")]
    kept = [cell for cell in range(plan.cells) if moments.count[cell].any()]
    names = [f"cell {cell}" if plan.labels is None else f"action {plan.labels[cell]}" for cell in kept]
    return names, [OperatorSums.of(moments, cell, "same_action") for cell in kept]


def _joint(
    moments: GroupedMoments, gathered: Gathered, predictions: bool, widths: Sequence[int], level: float
) -> OperatorAudit | None:
    """Audit the joint operator besides actions or cells: of predictions, of z ⊗ onehot(a), or of z ⊗ φ(a)."""
    plan = gathered.plan
    if plan.labels is not None and len(plan.labels) > 1:
        if predictions:
            whole = moments.joined(np.zeros(len(moments.count), dtype=np.int64))
            features, spectrum = "h = ẑ", operator_spectrum(OperatorSums.of(whole, 0, "same_action"))
        else:
            features, spectrum = "h = z ⊗ onehot(a)", joint_spectrum(moments)
    elif plan.basis is not None and gathered.joint is not None:
        features = f"h = z ⊗ {len(plan.basis)} Legendre products of a (degree ≤ {plan.basis.degree})"
        spectrum = operator_spectrum(OperatorSums.of(gathered.joint.compute(), 0, "same_action"))
    else:
        return None
    return _operator(f"joint operator (x, a) → x⁺, {features}", spectrum, widths, level, None)


def _summary_name(gathered: Gathered, operators: int) -> str:
    if gathered.plan.joint:
        return "joint operator (x, a) → x⁺"
    kind = "actions" if gathered.plan.labels is not None else "cells of actions"
    return f"mean over {operators} {kind}, by their share of transitions" if operators > 1 else "x → x⁺"


def _widths(settings: AuditSettings, moments: GroupedMoments) -> tuple[int, ...]:
    most = min(moments.zz.shape[-1], moments.yy.shape[-1]) - 1
    if settings.widths:
        return tuple(sorted(set(settings.widths)))
    return tuple(sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most}))


def _mean(statistics: Sequence[Jackknifed], shares: Sequence[float] | None, level: float) -> AuditQuantity:
    return AuditQuantity.of(average(statistics, shares), level) if statistics else AuditQuantity.missing()


def _operator(
    name: str, spectrum: OperatorSpectrum, widths: Sequence[int], level: float, risk: RiskEstimate | None
) -> OperatorAudit:
    small = spectrum.n_too_small
    values = spectrum.singular_values
    size = values.whole.shape[-1]
    flags = {
        "n_too_small": small,
        "degenerate": spectrum.degenerate,
        "rank_deficient": spectrum.rank_deficient,
        "spans_constant": spectrum.spans_constant,
        "noiseless": not small and _noiseless(values.whole),
        "no_interval": values.groups < 2,
        "s0_not_one": abs(float(values.whole[0]) - 1) > 1e-6,
    }
    low, high = values.interval(level)
    listed = np.stack([np.asarray(values.value), np.asarray(values.standard_error), low, high], axis=-1)
    k = min(spectrum.widths)
    gap = spectrum.gap(k) if not small and k <= size and not spectrum.degenerate else None
    return OperatorAudit(
        name=name,
        rows=spectrum.rows,
        n=spectrum.n,
        p=spectrum.p,
        q=spectrum.q,
        flags=tuple(flag for flag, true in flags.items() if true),
        singular_values=()
        if small
        else tuple(AuditQuantity(*(float(v) if np.isfinite(v) else None for v in four)) for four in listed),
        corrected=() if small else tuple(float(v) if np.isfinite(v) else None for v in spectrum.corrected),
        edge=None if small else spectrum.edge,
        detection_limit=None if small else spectrum.detection_limit,
        signal_rank=None if small else spectrum.signal_rank,
        total=AuditQuantity.missing() if small else AuditQuantity.of(spectrum.total, level),
        total_analytic=None if small or np.isnan(spectrum.total_analytic) else spectrum.total_analytic,
        top={} if small else {k: AuditQuantity.of(spectrum.top(k), level) for k in widths},
        gap=None if gap is None else GapAudit(k, AuditQuantity.of(gap.difference, level), gap.real, gap.cluster),
        lidar_wm=AuditQuantity.missing() if small else AuditQuantity.of(lidar(spectrum), level),
        loss=AuditQuantity.of(risk.loss, level) if risk else AuditQuantity.missing(),
        calibration_deficit=AuditQuantity.of(risk.calibration_deficit, level)
        if risk and not small
        else AuditQuantity.missing(),
    )


def _noiseless(values: np.ndarray) -> bool:
    """Whether most directions other than the constant are predicted without loss."""
    return len(values) > 2 and bool((values[1:] > _NEARLY_ONE).mean() > 0.5)


def _dictionary_spectra(moments: GroupedMoments) -> list[OperatorSpectrum]:
    """Return the dictionary's spectra of each action with enough rows, or of one joint operator."""
    cells = [cell for cell in range(len(moments.count)) if moments.count[cell].any()]
    spectra = [operator_spectrum(OperatorSums.of(moments, cell, "same_action")) for cell in cells]
    # Without groups to leave out a spectrum of so many features is mostly bias.
    return [spectrum for spectrum in spectra if not spectrum.n_too_small and spectrum.total.groups > 1]


def _dictionary(
    sums: MomentAccumulator | None,
    eps: float,
    widths: Sequence[int],
    level: float,
    own: Sequence[OperatorSpectrum],
) -> DictionaryAudit | None:
    if sums is None or not own or not (spectra := _dictionary_spectra(sums.compute())):
        return None
    half = _dictionary_spectra(sums.compute().leading(sums.width_f // 2)) if eps == 0 else []
    shares = [spectrum.n for spectrum in spectra]
    size = min(min(spectrum.p, spectrum.q) for spectrum in own) + 1
    best = _mean([spectrum.top(size) for spectrum in spectra], shares, level)
    seen = _mean([spectrum.total for spectrum in own], [spectrum.n for spectrum in own], level)
    return DictionaryAudit(
        width=sums.width_f,
        rows=sum(spectrum.rows for spectrum in spectra),
        noise=eps,
        total=_mean([spectrum.total for spectrum in spectra], shares, level),
        top={k: _mean([spectrum.top(k) for spectrum in spectra], shares, level) for k in widths},
        tail={k: _mean([spectrum.tail(k) for spectrum in spectra], shares, level) for k in widths},
        tail_own=_mean([spectrum.tail(size) for spectrum in spectra], shares, level),
        half_total=_mean([spectrum.total for spectrum in half], [spectrum.n for spectrum in half], level),
        subspace_deficit=_difference(best, seen) if eps == 0 else AuditQuantity.missing(),
    )


def _no_sizing(dictionary: DictionaryAudit | None, noiseless: bool) -> str:
    """Return why no width can be advised; empty if one can."""
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


def _cells(moments: GroupedMoments, gathered: Gathered, predictions: bool, level: float) -> CellsAudit | None:
    plan = gathered.plan
    if plan.bins is None or plan.cells < 2:
        return None
    estimate = estimate_cells(moments, plan.bins_dimension, predictions)
    return CellsAudit(
        {cells: AuditQuantity.of(total, level) for cells, total in estimate.totals.items()},
        AuditQuantity.of(estimate.extrapolated, level)
        if estimate.extrapolated is not None
        else AuditQuantity.missing(),
        estimate.dropped,
    )


def _sizing(gathered: Gathered, settings: AuditSettings, rows: EmbeddingRows, study: StudyTerm | None) -> SizingAudit:
    """Choose a width by the whole dictionary, with the range widened to the choice by its first half."""
    assert gathered.dictionary is not None
    moments, n = gathered.dictionary.compute(), settings.train_n or float(rows.rows)
    sizing, half = (
        choose_width(_dictionary_spectra(part), n, study, settings.level)
        for part in (moments, moments.leading(gathered.dictionary.width_f // 2))
    )
    best = (min(sizing.best_low, half.best_low), max(sizing.best_high, half.best_high))
    low, high = min(sizing.low, half.low), max(sizing.high, half.high)
    return SizingAudit(
        n=sizing.n,
        best_low=best[0],
        best_high=best[1],
        low=low,
        high=high,
        open_ended=max(best) >= int(sizing.widths[-1]) or half.best_high >= int(half.widths[-1]),
        source=sizing.source,
        widths=tuple(map(int, sizing.widths)),
        tail=tuple(map(float, sizing.tail)),
        tail_error=tuple(float(v) if np.isfinite(v) else None for v in sizing.tail_error),
        sample_low=tuple(map(float, sizing.sample_low)),
        sample_high=tuple(map(float, sizing.sample_high)),
    )
