"""Somebody else's embeddings in, an ``Audit`` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from jepa_scale.auditing.record import (
    Audit,
    CellsAudit,
    DictionaryAudit,
    GapAudit,
    OperatorAudit,
    Quantity,
    SizingAudit,
)
from jepa_scale.auditing.rows import Rows, open_rows
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.auditing.stream import Gathered, gather, make_plan
from jepa_scale.auditing.warn import warnings_of
from jepa_scale.estimators.cells import estimate_cells
from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.estimators.rank import effective_ranks, lidar
from jepa_scale.estimators.risk import estimate_risk
from jepa_scale.estimators.sizing import Sizing, StudyTerm, choose_width
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, operator_spectrum

Advance = Callable[[int], None]


def run_audit(
    path: Path, settings: AuditSettings, started: Callable[[Rows], Advance] = lambda rows: lambda count: None
) -> Audit:
    """Audit a file; ``started`` hears of its rows before they are read, and says who hears of progress.

    Raises
    ------
    ValueError
        If the file, a setting, or the two together make no sense; one sentence says what to do.
    """
    study = None if settings.fit is None else StudyTerm.read(settings.fit)
    rows = open_rows(path, settings.columns, settings.tokens, settings.drop_nonfinite, settings.seed)
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads or _cores())
    try:
        plan = make_plan(rows, settings)
        gathered = gather(rows, plan, settings, started(rows))
        return _conclude(path, rows, gathered, settings, study)
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _conclude(path: Path, rows: Rows, gathered: Gathered, settings: AuditSettings, study: StudyTerm | None) -> Audit:
    moments, level = gathered.moments.compute(), settings.level
    whole = moments.joined(np.zeros(len(moments.count), dtype=np.int64))
    names, spectra, of = _operators(moments, whole, gathered)
    widths = _widths(settings, moments)
    predictions = rows.predicted_width is not None and settings.components is None
    risks = [
        estimate_risk(part, cell, "same_action", spectrum) if predictions else None
        for (part, cell), spectrum in zip(of, spectra, strict=True)
    ]
    usable = [spectrum for spectrum in spectra if not spectrum.n_too_small]
    shares = [spectrum.n for spectrum in usable]
    dictionary = _dictionary_spectra(gathered.dictionary.compute()) if gathered.dictionary is not None else []
    sizing = _sizing(dictionary, settings, rows, study)
    audit = Audit(
        source=str(path),
        layout=rows.layout,
        rows=int(moments.rows.sum()),
        dropped=rows.dropped,
        repeated=gathered.repeated,
        trajectories=rows.trajectory_count,
        trajectory_source=rows.trajectory_source,
        widths=(moments.zz.shape[-1] - 1, moments.yy.shape[-1] - 1),
        predictions=rows.predicted_width is not None,
        level=level,
        summary_name=_summary_name(gathered, len(spectra)),
        total=_mean([one.total for one in usable], shares, level),
        top={k: _mean([one.top(k) for one in usable], shares, level) for k in widths},
        loss=_mean([risk.loss for risk in risks if risk], None, level),
        calibration_deficit=_mean(
            [
                risk.calibration_deficit
                for risk, one in zip(risks, spectra, strict=True)
                if risk and not one.n_too_small
            ],
            None,
            level,
        ),
        operators=tuple(
            _operator(name, spectrum, widths, level, risk)
            for name, spectrum, risk in zip(names, spectra, risks, strict=True)
        ),
        ranks={
            name: Quantity.of(one, level) if np.isfinite(one.whole) else Quantity.missing()
            for name, one in effective_ranks(moments).items()
        },
        dictionary=_dictionary(dictionary, gathered, 0.0, widths, level, usable),
        resolution=tuple(
            found
            for eps, sums in sorted(gathered.resolution.items())
            if (found := _dictionary(_dictionary_spectra(sums.compute()), gathered, eps, widths, level, usable))
        ),
        cells=_cells(moments, gathered, rows, level),
        sizing=sizing,
        warnings=(),
    )
    return warnings_of(audit, gathered.plan, gathered.seen, settings.dictionary != 0)


def _operators(
    moments: GroupedMoments, whole: GroupedMoments, gathered: Gathered
) -> tuple[list[str], list[OperatorSpectrum], list[tuple[GroupedMoments, int]]]:
    """Names, spectra and where they come from."""
    plan = gathered.plan
    if plan.joint or plan.cells == 1:
        names, of = ["joint operator (x, a) → x⁺" if plan.joint else "x → x⁺"], [(whole, 0)]
        if plan.labels is not None:
            names = [f"action {plan.labels[0]}"]
    else:
        kept = [cell for cell in range(plan.cells) if gathered.seen[cell] > 0 and moments.count[cell].sum() > 0]
        names = [f"cell {cell}" if plan.labels is None else f"action {plan.labels[cell]}" for cell in kept]
        of = [(moments, cell) for cell in kept]
    return names, [operator_spectrum(OperatorSums.of(part, cell, "same_action")) for part, cell in of], of


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


def _mean(statistics: Sequence[Jackknifed], shares: Sequence[float] | None, level: float) -> Quantity:
    """Average of those of the same groups; missing if there is none."""
    groups = {one.groups for one in statistics}
    if not statistics:
        return Quantity.missing()
    if len(groups) > 1:
        # Some operator lacks a group: no common sample to leave out, so a value without an error.
        return Quantity(float(np.average([float(one.value) for one in statistics], weights=shares)), None, None, None)
    return Quantity.of(average(statistics, shares), level)


def _operator(
    name: str, spectrum: OperatorSpectrum, widths: Sequence[int], level: float, risk: object | None
) -> OperatorAudit:
    small = spectrum.n_too_small
    values = spectrum.singular_values
    size = values.whole.shape[-1]
    flags = {
        "n_too_small": small,
        "degenerate": spectrum.degenerate,
        "rank_deficient": spectrum.rank_deficient,
        "spans_constant": spectrum.spans_constant,
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
        else tuple(Quantity(*(float(v) if np.isfinite(v) else None for v in four)) for four in listed),
        corrected=() if small else tuple(float(v) if np.isfinite(v) else None for v in spectrum.corrected),
        edge=None if small else spectrum.edge,
        detection_limit=None if small else spectrum.detection_limit,
        signal_rank=None if small else spectrum.signal_rank,
        total=Quantity.missing() if small else Quantity.of(spectrum.total, level),
        total_analytic=None if small or np.isnan(spectrum.total_analytic) else spectrum.total_analytic,
        top={} if small else {k: Quantity.of(spectrum.top(k), level) for k in widths},
        gap=None if gap is None else GapAudit(k, Quantity.of(gap.difference, level), gap.real, gap.cluster),
        lidar_wm=Quantity.missing() if small else Quantity.of(lidar(spectrum), level),
        loss=Quantity.of(risk.loss, level) if risk else Quantity.missing(),  # type: ignore[attr-defined]
        calibration_deficit=Quantity.of(risk.calibration_deficit, level)  # type: ignore[attr-defined]
        if risk and not small
        else Quantity.missing(),
    )


def _dictionary_spectra(moments: GroupedMoments) -> list[OperatorSpectrum]:
    """Of each action, or of one joint operator; empty where a sample is too small for it."""
    cells = [cell for cell in range(len(moments.count)) if moments.count[cell].sum() > 0]
    spectra = [operator_spectrum(OperatorSums.of(moments, cell, "same_action")) for cell in cells]
    return [] if any(one.n_too_small for one in spectra) else spectra


def _dictionary(
    spectra: list[OperatorSpectrum],
    gathered: Gathered,
    eps: float,
    widths: Sequence[int],
    level: float,
    own: Sequence[OperatorSpectrum],
) -> DictionaryAudit | None:
    if not spectra:
        return None
    shares = [one.n for one in spectra]
    sums = gathered.dictionary if eps == 0 else gathered.resolution[eps]
    assert sums is not None
    size = min(min(one.p, one.q) for one in own) + 1 if own else 0
    best = _mean([one.top(size) for one in spectra], shares, level)
    seen = _mean([one.total for one in own], [one.n for one in own], level)
    return DictionaryAudit(
        width=sums.width_f,
        rows=sum(one.rows for one in spectra),
        noise=eps,
        total=_mean([one.total for one in spectra], shares, level),
        top={k: _mean([one.top(k) for one in spectra], shares, level) for k in widths},
        tail={k: _mean([one.tail(k) for one in spectra], shares, level) for k in widths},
        subspace_deficit=_difference(best, seen) if eps == 0 and own else Quantity.missing(),
    )


def _difference(one: Quantity, other: Quantity) -> Quantity:
    """With errors added in squares: they share rows, mostly, so this is on the safe side."""
    if one.value is None or other.value is None:
        return Quantity.missing()
    value = one.value - other.value
    if one.standard_error is None or other.standard_error is None or one.low is None or one.standard_error == 0:
        return Quantity(value, None, None, None)
    error = float(np.hypot(one.standard_error, other.standard_error))
    half = error * (one.value - one.low) / one.standard_error
    return Quantity(value, error, value - half, value + half)


def _cells(moments: GroupedMoments, gathered: Gathered, rows: Rows, level: float) -> CellsAudit | None:
    plan = gathered.plan
    if plan.bins is None or plan.cells < 2:
        return None
    found = estimate_cells(moments, plan.bins_dimension)
    return CellsAudit(
        {cells: Quantity.of(total, level) for cells, total in found.totals.items()},
        Quantity.of(found.extrapolated, level) if found.extrapolated is not None else Quantity.missing(),
        found.dropped,
    )


def _sizing(
    spectra: list[OperatorSpectrum], settings: AuditSettings, rows: Rows, study: StudyTerm | None
) -> SizingAudit | None:
    if not spectra:
        return None
    found: Sizing = choose_width(spectra, settings.train_n or float(rows.rows), study, settings.level)
    return SizingAudit(
        n=found.n,
        best_low=found.best_low,
        best_high=found.best_high,
        low=found.low,
        high=found.high,
        source=found.source,
        widths=tuple(map(int, found.widths)),
        tail=tuple(map(float, found.tail)),
        tail_error=tuple(float(v) if np.isfinite(v) else None for v in found.tail_error),
        sample_low=tuple(map(float, found.sample_low)),
        sample_high=tuple(map(float, found.sample_high)),
    )
