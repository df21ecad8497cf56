"""Held-out spectrum, loss and deficits of the model, every epoch."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch

from jepa_scale import processes
from jepa_scale.callbacks.base import Context, EpochCallback, Exact, exact, outputs_of, tabulate
from jepa_scale.callbacks.reference import reference_of
from jepa_scale.estimators.gaps import Gap
from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.looked_up import LookedUpMoments
from jepa_scale.estimators.model import ModelEstimate, estimate_model
from jepa_scale.estimators.moments import GROUPS, GroupedMoments
from jepa_scale.estimators.rank import lidar
from jepa_scale.estimators.risk import subspace_deficit
from jepa_scale.estimators.spectrum import OperatorSpectrum
from jepa_scale.records import Estimate, Trajectories
from jepa_scale.theory.spectrum import canonical_correlations, exact_moments, spectral_loss, spectral_tail
from jepa_scale.training.world_model import WorldModel

_CHUNK = 16384
"""Transitions embedded at a time, for small observations."""
_CHUNK_BYTES = 2**28
"""Bytes of observations, as floats, embedded at a time; so fewer for large images."""


class SpectrumCallback(EpochCallback):
    """Log the estimates of ``estimators.spectrum`` beside the exact values of the same model."""

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """Return held-out estimates, then the exact values of the same model if the world is finite."""
        moment = trainer.current_epoch, trainer.global_step
        heldout = trainer.datamodule.heldout  # type: ignore[attr-defined]
        rows = split_estimates("spectrum", module, heldout, self.context, *moment)
        known = self.context.exact
        return rows if known is None else rows + self._exact(known, trainer, module)

    def _exact(self, known: Exact, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        table = tabulate(module, known.world)
        moments = exact_moments(known.world.finite, table.encoder, table.predictor, self.context.negatives)
        learned = canonical_correlations(moments)
        # T1, exact to rounding: the moments are there, the residuals of N² entries are not.
        risk = spectral_loss(moments) + spectral_tail(known.truth.singular_values, 0)
        epoch, step = trainer.current_epoch, trainer.global_step
        rows = [exact("exact/risk", risk.mean(), trainer), exact("exact/risk_max", risk.max(), trainer)]
        rows.append(exact("exact/total", (learned**2).sum(-1).mean(), trainer))
        for action, values in enumerate(learned):
            rows.append(exact(f"exact/action_{action}/risk", risk[action], trainer))
            listed = tuple(map(float, values))
            zeros = (0.0,) * len(listed)
            rows.append(Estimate(f"exact/action_{action}/singular_values", listed, zeros, None, epoch, step))
        return rows


@torch.inference_mode()
def heldout_moments(module: WorldModel, trajectories: Trajectories, context: Context) -> GroupedMoments:
    """Compute moments of whole trajectories, in which each observation serves as x⁺ and as the next x.

    With several processes each takes every world_size-th trajectory, none twice; a trajectory's group is that of its
    episode, so that the result does not depend on the number of processes. Unusable transitions are left out.
    """
    width, known = context.k, context.exact
    # Where the world is not finite: one cell, the joint operator (x, a) → x⁺ of predictions h = ẑ.
    cells = 1 if known is None else known.world.actions
    sums = LookedUpMoments(width, width, cells, precision=torch.float64)
    # None waits in the sum for one that met embeddings which are no numbers.
    processes.every(lambda: _add(sums, module, trajectories, context))
    if processes.world_size() > 1:
        sums.all_reduce(processes.group())
    return sums.compute()


def _add(sums: LookedUpMoments, module: WorldModel, trajectories: Trajectories, context: Context) -> None:
    """Add the transitions of this process's trajectories to the sums."""
    rows = _table_rows(trajectories, context)
    if rows is not None:
        _add_tabulated(sums, module, rows, context)
        return
    episodes, length = trajectories.actions.shape[:2]
    width, known = context.k, context.exact
    groups = torch.as_tensor(trajectories.groups)
    chunk = min(_CHUNK, _CHUNK_BYTES // (4 * int(np.prod(trajectories.observations.shape[2:]))))
    for part in processes.strided(torch.arange(episodes)).split(max(1, chunk // length)):
        taken = torch.as_tensor(trajectories.actions[part.numpy()], device=module.device)
        observations = torch.as_tensor(trajectories.observations[part.numpy()], device=module.device)
        latents = module.encode(observations)
        predicted, following = module.predict(latents[:, :-1], taken), latents[:, 1:]
        kept = _kept(trajectories, part)
        sums.update(
            predicted.reshape(-1, width)[kept],
            following.reshape(-1, width)[kept],
            (taken.reshape(-1) if known is not None else torch.zeros(taken.shape[0] * length, dtype=torch.int64))[kept],
            groups[part].repeat_interleave(length)[kept],
        )


def _add_tabulated(sums: LookedUpMoments, module: WorldModel, rows: _TableRows, context: Context) -> None:
    """Add transitions whose embeddings are looked up in the model's outputs on every observation of the world."""
    assert context.exact is not None
    outputs = outputs_of(module, context.exact.world, rows.dtype)
    # MPS has no float64.
    latents, predicted = (
        (table.cpu() if table.device.type == "mps" else table).double()
        for table in (outputs.latents, outputs.predicted.flatten(0, 1))
    )
    for start in range(0, len(rows.places), _CHUNK):
        part = slice(start, start + _CHUNK)
        left, right, places = (index[part].to(latents.device) for index in (rows.left, rows.right, rows.places))
        sums.look_up((predicted, latents), left, right, places)


def _kept(trajectories: Trajectories, part: torch.Tensor) -> slice | torch.Tensor:
    """Index of the usable transitions among the flattened ones of some trajectories."""
    if trajectories.usable is None:
        return slice(None)
    return torch.as_tensor(np.flatnonzero(trajectories.usable[part.numpy()]))


@dataclass(frozen=True)
class _TableRows:
    """Transitions of a finite world by numbers of rows of the model's tables, in the order of cells and groups."""

    left: torch.Tensor
    """(n,) row of (A N, k), the predicted latent of every action and observation."""
    right: torch.Tensor
    """(n,) row of (N, k), the latent of every observation."""
    places: torch.Tensor
    """(n,) number of cell and group together, increasing."""
    dtype: np.dtype
    """Of the observations."""


_TABLE_ROWS: dict[int, _TableRows | None] = {}
"""By the identity of trajectories, as long as those are there: what they have for every model."""


def _table_rows(trajectories: Trajectories, context: Context) -> _TableRows | None:
    """This process's transitions, if to embed each observation of the world once is less work than each transition.

    None if it is more work, or if the observations are not exactly those of their states, as with sensor noise:
    estimates refer to the actual observations.
    """
    key = id(trajectories)
    if key not in _TABLE_ROWS:
        _TABLE_ROWS[key] = _find_table_rows(trajectories, context)
        weakref.finalize(trajectories, _TABLE_ROWS.pop, key, None)
    return _TABLE_ROWS[key]


def _find_table_rows(trajectories: Trajectories, context: Context) -> _TableRows | None:
    states, observed, known = trajectories.states, trajectories.observations, context.exact
    if known is None or states is None:
        return None
    count = known.world.finite.states
    if count * known.world.actions >= trajectories.actions.size:
        return None
    if not np.array_equal(known.world.observations.astype(observed.dtype)[states], observed):
        return None
    part = processes.strided(torch.arange(len(states)))
    actions, visited = (torch.as_tensor(values[part.numpy()]) for values in (trajectories.actions, states))
    groups = torch.as_tensor(trajectories.groups)[part, None].expand(actions.shape)
    kept = _kept(trajectories, part)
    columns = actions * count + visited[:, :-1], visited[:, 1:], actions, groups
    left, right, cells, groups = (column.reshape(-1)[kept] for column in columns)
    # So that the sums need not sort them for each model.
    places, order = torch.sort(cells * GROUPS + groups % GROUPS, stable=True)
    return _TableRows(left[order], right[order], places, observed.dtype)


def split_estimates(
    prefix: str, module: WorldModel, trajectories: Trajectories, context: Context, epoch: int, step: int
) -> list[Estimate]:
    """Estimates from trajectories that the model was not trained on.

    In a finite world they are per action and averaged over actions; else they are of the joint operator, compared with
    its closed form where the world has one, or with the reference dictionary.
    """
    moments = heldout_moments(module, trajectories, context)
    model = estimate_model(moments, context.negatives if context.exact is not None else "pooled")
    if context.exact is not None:
        listed = _listed(model, context, context.exact.truth.singular_values)
    else:
        listed = _joint(model, trajectories, context)
    return [Estimate(f"{prefix}/{name}", value, error, n, epoch, step, flag) for name, value, error, n, flag in listed]


def _joint(model: ModelEstimate, trajectories: Trajectories, context: Context) -> Iterator[_Row]:
    known = context.world.known_spectrum
    if known is not None:
        # All of T in few numbers: deficits and risks read the first k squares, and the sum of the others.
        rest = np.sqrt(known.tail(context.k))
        yield from _listed(model, context, np.append(known.values[: context.k], rest)[None])
        for name, value in {"reference/total": known.total, "reference/tail": known.tail(context.k)}.items():
            yield name, value, 0.0, model.spectra[0].rows, "closed_form"
        return
    reference = reference_of(trajectories, context.world.action_space, context.world.eps_obs)
    if reference is None:
        yield from _listed(model, context, None)
        return
    whole = reference.whole
    # Corrected for bias a small square may come out below 0.
    squares = whole.singular_values.map(np.square)
    values = np.sqrt(np.clip(np.asarray(squares.value), 0, None))
    yield from _listed(model, context, values[None])
    for name, statistic in {
        "reference/total": whole.total,
        "reference/half_total": reference.half.total,
        "reference/tail": whole.tail(context.k),
    }.items():
        yield _row(name, statistic, whole.rows, f"dictionary_of_{reference.of}")


def _listed(model: ModelEstimate, context: Context, sigma: np.ndarray | None) -> Iterator[_Row]:
    """Yield rows of every action and of their mean; only of the mean if there is a single cell.

    ``sigma`` (A, N): singular values that the model is compared with.
    """
    every: dict[str, list[Jackknifed]] = {}
    gaps = [spectrum.gap(context.k) if _has_gap(spectrum, context.k) else None for spectrum in model.spectra]
    flags: dict[str, None] = {}
    single = len(model.spectra) == 1
    for action, spectrum in enumerate(model.spectra):
        statistics = _statistics(model, action, context.k, None if sigma is None else sigma[action])
        flag = _flag(spectrum)
        flags.update(dict.fromkeys(filter(None, flag.split(","))))
        for name, statistic in statistics.items():
            every.setdefault(name, []).append(statistic)
            if not single:
                yield _row(f"action_{action}/{name}", statistic, spectrum.rows, flag)
        if not single:
            yield from _gap_rows(f"action_{action}/gap", gaps[action : action + 1], spectrum.rows, flag)
        yield _row(f"action_{action}/singular_values", spectrum.own, spectrum.rows, flag)
    total, flag = sum(spectrum.rows for spectrum in model.spectra), ",".join(sorted(flags))
    for name, statistics_of_actions in every.items():
        yield _row(name, average(statistics_of_actions), total, flag)
    yield from _gap_rows("gap", gaps, total, flag)
    # α-ReQ of a narrow latent is none.
    for name, statistic in ((name, rank) for name, rank in model.ranks.items() if np.isfinite(rank.whole)):
        above = name != "alpha_req" and statistic.value > context.k * (1 + 1e-9)
        yield _row(name, statistic, total, "above_width" if above else "")


_Row = tuple[str, float | tuple[float, ...] | None, float | tuple[float, ...] | None, int, str]


def _statistics(model: ModelEstimate, action: int, k: int, sigma: np.ndarray | None) -> dict[str, Jackknifed]:
    spectrum, risk = model.spectra[action], model.risks[action]
    statistics = {
        "total": spectrum.own.map(lambda values: (values**2).sum(-1)),
        "loss": risk.loss,
        "calibration_deficit": risk.calibration_deficit,
        "lidar_wm": lidar(spectrum),
    }
    if sigma is not None:
        statistics |= {"subspace_deficit": subspace_deficit(spectrum, sigma, k), "risk": risk.risk(sigma)}
    return statistics


_ANY_SIZE = ("loss", "risk", "rankme_sv_uncentred", "erank_eig_centred", "participation_ratio", "alpha_req")
"""Statistics that are unbiased at any n, or not of the operator: logged however few transitions there are."""


def _flag(spectrum: OperatorSpectrum) -> str:
    flags = {
        "n_too_small": spectrum.n_too_small,
        "rank_deficient": spectrum.rank_deficient,
        "spans_constant": spectrum.spans_constant,
        "degenerate": spectrum.degenerate,
    }
    return ",".join(name for name, true in flags.items() if true)


def _row(name: str, statistic: Jackknifed, n: int, flag: str) -> _Row:
    if "n_too_small" in flag and name.rsplit("/", 1)[-1] not in _ANY_SIZE:
        return name, None, None, n, flag
    value, error = np.asarray(statistic.value), np.asarray(statistic.standard_error)
    if value.ndim == 0:
        return (name, float(value), float(error), n, flag) if np.isfinite(value) else (name, None, None, n, flag)
    return name, tuple(map(float, value)), tuple(map(float, error)), n, flag


def _has_gap(spectrum: OperatorSpectrum, k: int) -> bool:
    return k <= spectrum.singular_values.whole.shape[-1]


def _gap_rows(name: str, gaps: Sequence[Gap | None], n: int, flag: str) -> Iterator[_Row]:
    """Yield the gap's mean over actions and its largest cluster; a gap that cannot be told from zero is missing."""
    known = [gap for gap in gaps if gap is not None]
    if len(known) < len(gaps):
        yield name, None, None, n, flag
        return
    gap = Gap.mean(known)
    shown = _row(name, gap.difference, n, flag)
    reasons = [*flag.split(","), *["degenerate"] * (not gap.significant), *["below_edge"] * gap.below_edge]
    yield shown if gap.real else (name, None, shown[2], n, ",".join(dict.fromkeys(filter(None, reasons))))
    yield f"{name}_cluster", float(gap.cluster), None, n, flag
