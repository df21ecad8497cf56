"""Audits of embeddings from a file: compute the ``Audit`` record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from jepa_scale.auditing.plan import components_that_fit, make_plan
from jepa_scale.auditing.predictions import share_of
from jepa_scale.auditing.record import (
    Audit,
    AuditQuantity,
    CellsAudit,
    GapAudit,
    OperatorAudit,
    SizingAudit,
)
from jepa_scale.auditing.reference import dictionary_audit, dictionary_spectra, mean_of, no_sizing
from jepa_scale.auditing.rows import EmbeddingRows, open_rows
from jepa_scale.auditing.sampled import Sample, read_sample
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.auditing.stream import Gathered, gather
from jepa_scale.auditing.verdict import decide
from jepa_scale.auditing.warn import warnings_of
from jepa_scale.estimators.cells import estimate_cells
from jepa_scale.estimators.joint import joint_spectrum
from jepa_scale.estimators.moments import GROUPS, GroupedMoments
from jepa_scale.estimators.rank import effective_ranks, lidar
from jepa_scale.estimators.risk import RiskEstimate, estimate_risk
from jepa_scale.estimators.sizing import StudyTerm, choose_width
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, operator_spectrum
from jepa_scale.foreign import Refused
from jepa_scale.records.verdicts import PredictionShare, WidthVerdict

_NEARLY_ONE = 0.98

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
        fitting = replace(settings, components=components_that_fit(rows, settings))
        gathered = gather(rows, make_plan(rows, fitting), fitting, started(rows))
        moments = _moments(gathered)
        judged = _judge(read_sample(rows, settings.seed, settings.components), settings, path)
        audit = _conclude(path, rows, gathered, moments, fitting, study, judged, settings.components)
        return warnings_of(audit, rows, gathered.plan, gathered.seen, settings)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error


def _moments(gathered: Gathered) -> GroupedMoments:
    """Return the moments; refuse those that overflowed."""
    moments = gathered.moments.compute()
    if not all(np.isfinite(part).all() for part in (moments.zz, moments.yy, moments.zy)):
        raise ValueError(
            "expected embeddings and weights whose squares can be added up, got some too large for that: divide each "
            "array by a constant, which changes no spectrum"
        )
    return moments


def _judge(sample: Sample, settings: AuditSettings, path: Path) -> tuple[WidthVerdict, PredictionShare | None]:
    """Return the verdict on the width, with what predictions see."""
    verdict = decide(sample, settings.level, str(path))
    predicted, notes = share_of(sample, settings.level)
    return replace(verdict, notes=(*verdict.notes, *notes)), predicted


def _whole(verdict: WidthVerdict, level: float) -> AuditQuantity | None:
    """Return T = 1 + E of all directions, (x, a) → x⁺, where rows are too few for a spectrum but not for a total."""
    energy = verdict.energy
    if energy.value is None or energy.low is None or energy.high is None or verdict.variance < 1:
        return None
    error = (energy.high - energy.low) / 2 / float(student.ppf((1 + level) / 2, GROUPS - 1))
    return AuditQuantity(1 + energy.value, error, 1 + energy.low, 1 + energy.high)


_NARROWED = "; T itself is that of (x, a) → x⁺ in all directions"


def _conclude(
    path: Path,
    rows: EmbeddingRows,
    gathered: Gathered,
    moments: GroupedMoments,
    settings: AuditSettings,
    study: StudyTerm | None,
    judged: tuple[WidthVerdict, PredictionShare | None],
    asked: int | None,
) -> Audit:
    level = settings.level
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
    dictionary = dictionary_audit(gathered.dictionary, 0.0, widths, level, usable, not predictions, gathered.reduced)
    noiseless = any("noiseless" in operator.flags for operator in operators)
    why_no_sizing = no_sizing(dictionary, noiseless, gathered.reduced)
    narrowed = asked is None and settings.components is not None
    whole = _whole(judged[0], level) if narrowed else None
    return Audit(
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
        summary_name=_summary_name(gathered, len(usable)) + (_NARROWED if whole else ""),
        total=whole or mean_of([spectrum.total for spectrum in usable], shares, level),
        top={k: mean_of([spectrum.top(k) for spectrum in usable], shares, level) for k in widths},
        loss=mean_of([risk.loss for risk in losses], None, level),
        calibration_deficit=mean_of([risk.calibration_deficit for risk in losses], None, level),
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
            if (record := dictionary_audit(part, eps, widths, level, usable))
        ),
        cells=_cells(moments, gathered, predictions, level),
        sizing=None if why_no_sizing else _sizing(gathered, settings, rows, study),
        no_sizing=why_no_sizing,
        verdict=judged[0],
        predicted=judged[1],
        warnings=(),
    )


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
        choose_width(dictionary_spectra(part), n, study, settings.level)
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
